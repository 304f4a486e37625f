"""The database of this machine's service, for commands that run beside it or while it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from annotation_api.db.locks import Lock
from annotation_api.db.postgres.embedded import EmbeddedPostgres, running_url
from annotation_api.settings import Settings


class OperationError(Exception):
    """A command cannot be carried out; the message is one sentence for the person at the terminal."""


def refuse_no_home(settings: Settings) -> None:
    """Raises OperationError where the folder of the service is not there."""
    home = settings.home.resolve()
    if not home.is_dir():
        raise OperationError(f"There is no folder {home}: name that of the service in RANKLOOP_HOME.")


@contextmanager
def local_database(settings: Settings) -> Iterator[str]:
    """The URL of the database: the configured one, that of the running service, or the embedded one, started.

    Raises OperationError when there is none yet, EmbeddedPostgresError when it cannot be started.
    """
    url = settings.database_url or running_url(settings.home)
    if url:
        yield url
        return
    if not (settings.home / "postgres.json").exists():
        raise OperationError(
            f"There is no service in {Path(settings.home).resolve()}: name its folder in RANKLOOP_HOME, or its "
            "database in RANKLOOP_DATABASE_URL."
        )
    with EmbeddedPostgres(settings.home) as server:
        yield server.url


@contextmanager
def files_kept(engine: Engine) -> Iterator[None]:
    """Nobody removes artifacts while inside. Raises OperationError when somebody is just doing so."""
    with _locked(engine, "pg_try_advisory_lock_shared", "Artifacts are being removed; try again when that is done."):
        yield


@contextmanager
def files_mine(engine: Engine) -> Iterator[None]:
    """As one who removes artifacts. Raises OperationError while a backup reads them."""
    with _locked(engine, "pg_try_advisory_lock", "A backup is being made, or artifacts removed; try again later."):
        yield


@contextmanager
def _locked(engine: Engine, function: str, refusal: str) -> Iterator[None]:
    """The lock belongs to a connection that is closed at the end, and with it the lock is gone."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(text(f"SELECT {function}(:key)"), {"key": Lock.FILES}).scalar_one():
            raise OperationError(refusal)
        try:
            yield
        finally:
            connection.invalidate()
