"""The database's schema level: bring it up to date, or ask whether it is.

The migrations lie beside the packages, in a checkout and in an installation alike.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from annotation_api.db.engine import DatabaseUnavailable, make_engine
from annotation_api.db.locks import Lock

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


class NewerDatabase(DatabaseUnavailable):
    """The database was migrated by a later version of Rankloop, which this one cannot read."""


def upgrade(url: str) -> None:
    """Apply what is missing, in one transaction; several processes may call this at once.

    Raises DatabaseUnavailable when the server cannot be reached, NewerDatabase when its tables are
    of a later version.
    """
    engine = make_engine(url, application_name="rankloop-migrate")
    try:
        with engine.begin() as connection:
            upgrade_within(connection)
    finally:
        engine.dispose()


def upgrade_within(connection: Connection) -> None:
    """As `upgrade`, in a transaction of the caller's."""
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.MIGRATION})
    config = alembic_config()
    _refuse_newer(connection, ScriptDirectory.from_config(config))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def level(connection: Connection) -> tuple[str, ...]:
    """The migrations at which the database stands; one, unless it is empty."""
    return tuple(MigrationContext.configure(connection).get_current_heads())


def known_levels() -> frozenset[str]:
    """Every migration that this version of Rankloop has."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


def _refuse_newer(connection: Connection, scripts: ScriptDirectory) -> None:
    if unknown := set(level(connection)) - known_levels():
        raise NewerDatabase(
            f"The database is at schema {', '.join(sorted(unknown))}, this Rankloop knows up to "
            f"{', '.join(scripts.get_heads())}: install the newer version, or restore an older backup."
        )


def is_current(engine: Engine) -> bool:
    """Whether every migration of this version of Rankloop, and no newer one, has been applied."""
    wanted = set(ScriptDirectory.from_config(alembic_config()).get_heads())
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == wanted


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
