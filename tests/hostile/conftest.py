"""A real server process, as `rankloop up` starts it, for visitors who mean harm: one for all of them, as in life.

Each file here is one kind of harm. What it does to the service is seen from beside: another person's requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine
from annotation_api.db.tables import ApiKey, Person, Role
from annotation_api.http import auth
from tests.hostile.server import Server, Visitor
from tests.support.databases import new_database
from tests.support.factory import Factory


@pytest.fixture(scope="session")
def server(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home: Path = tmp_path_factory.mktemp("hostile")
    with new_database(postgres_url, template) as url, Server(url, home) as running:
        yield running


@pytest.fixture
def visitor(server: Server) -> Iterator[Callable[[Role], Visitor]]:
    """`visitor(Role.ANNOTATOR)`: a new person with a key and a cookie."""
    engine = make_engine(server.database_url)

    def make(role: Role) -> Visitor:
        with Session(engine) as session:
            person: Person = Factory(session).person(role)
            key, prefix = auth.new_api_key()
            session.add(ApiKey(person_id=person.id, name="hostile", prefix=prefix, key_hash=auth.hash_token(key)))
            token = auth.start_session(session, person)
            session.commit()
            return Visitor(server.port, person.id, key, token)

    yield make
    engine.dispose()
