"""The database's schema level: bring it up to date, or ask whether it is.

The migrations lie beside the packages, in a checkout and in an installation alike.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from annotation_api.db.engine import make_engine

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
LOCK = 7_265_011  # any number; equal in every Rankloop process, so that one of them migrates


def upgrade(url: str) -> None:
    """Apply what is missing, in one transaction; several processes may call this at once.

    Raises DatabaseUnavailable when the server cannot be reached.
    """
    engine = make_engine(url, application_name="rankloop-migrate")
    try:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    """Whether every migration of this version of Rankloop, and no newer one, has been applied."""
    wanted = set(ScriptDirectory.from_config(alembic_config()).get_heads())
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == wanted


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
