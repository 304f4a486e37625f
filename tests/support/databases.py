"""Databases of a test's own, dropped afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, text

from annotation_api.db.engine import make_engine, parse_url


class new_database:
    """`with new_database(server, template) as url`: a database that is dropped afterwards."""

    def __init__(self, server: str, template: str = "template0") -> None:
        self.server, self.template, self.name = server, template, f"test_{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> str:
        # Files are copied in a third of the time in which pages are logged.
        self._execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{self.template}" STRATEGY FILE_COPY')
        return parse_url(self.server).set(database=self.name).render_as_string(hide_password=False)

    def __exit__(self, *error: object) -> None:
        self._execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        engine = create_engine(parse_url(self.server), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def engine_of(url: str) -> Iterator[Engine]:
    """An engine as the service makes it, whose connections are closed afterwards.

    What a test leaves open is closed when Python comes to it: in another test's midst, with a warning raised there.
    """
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def is_waited(engine: Engine) -> bool:
    """Whether anybody in this database waits for a lock."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        return bool(connection.scalar(text(asked)))
