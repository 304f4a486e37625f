"""The whole app on a real Postgres, in one transaction that a test's end undoes."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.db.audit import notes
from annotation_api.db.tables import Person, Role
from annotation_api.http import auth
from annotation_api.people import service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.live import app_of

PASSWORD = "three plain words"
HOST = "http://localhost"


@pytest.fixture(scope="session", autouse=True)
def _one_event_loop() -> Iterator[None]:
    """For all clients, as a server has one: to start a loop and its threads takes longer than most requests."""
    with start_blocking_portal() as portal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestClient, "portal", portal)
        yield


@pytest.fixture(scope="session")
def shared_app(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Putting the app together takes longer than a test."""
    settings = Settings(database_url="postgresql://given-by-the-engine", home=tmp_path_factory.mktemp("home"))
    return app_of(settings, engine)


@pytest.fixture
def app(shared_app: FastAPI, session: Session) -> Iterator[FastAPI]:
    """The app; its requests commit into savepoints of the test's transaction. What was noted of the rows that an
    earlier test's end took back is gone, too, and so are the settings that a test gives it."""
    settings = shared_app.state.settings
    shutil.rmtree(settings.home / notes.FOLDER, ignore_errors=True)
    shared_app.state.sessions = sessionmaker(
        bind=session.connection(), join_transaction_mode="create_savepoint", expire_on_commit=False
    )
    yield shared_app
    shared_app.state.settings = settings


@functools.cache
def password_hash() -> str:
    return auth.hash_password(PASSWORD)


@pytest.fixture
def person(session: Session) -> Callable[..., Person]:
    """`person(Role.ADMIN)`: an account with the password PASSWORD."""

    def make(role: Role = Role.ANNOTATOR, email: str | None = None) -> Person:
        tag = auth.new_token()[:8].lower()
        row = Person(
            email=email or f"{tag}@example.org",
            name=f"{role.value} {tag}",
            role=role,
            password_hash=password_hash(),
            pseudonym=f"person-{tag}",
        )
        session.add(row)
        session.flush()
        return row

    return make


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """Nobody in particular."""
    return TestClient(app, base_url=HOST, raise_server_exceptions=False)


@pytest.fixture
def as_(app: FastAPI, session: Session, person: Callable[..., Person]) -> Callable[..., TestClient]:
    """`as_(Role.ADMIN)` or `as_(person)`: a client with that person's API key."""

    def make(who: Role | Person) -> TestClient:
        someone = person(who) if isinstance(who, Role) else who
        _, key = service.add_api_key(session, someone, NewApiKey(name="test"))
        headers = {"Authorization": f"Bearer {key}"}
        return TestClient(app, base_url=HOST, headers=headers, raise_server_exceptions=False)

    return make


@pytest.fixture
def browser_of(app: FastAPI, session: Session, person: Callable[..., Person]) -> Callable[..., TestClient]:
    """As `as_`, but signed in with a cookie, as a browser would be, asking for pages."""

    def make(who: Role | Person) -> TestClient:
        someone = person(who) if isinstance(who, Role) else who
        cookies = {"rankloop": auth.start_session(session, someone)}
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
        return TestClient(
            app, base_url=HOST, cookies=cookies, headers=headers, raise_server_exceptions=False, follow_redirects=False
        )

    return make


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Counts what the driver is asked, past the ORM, too."""
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(self: Any, query: Any, *given: Any, **named: Any) -> Any:
        asked.append(str(query))
        return execute(self, query, *given, **named)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)

    @contextmanager
    def counted() -> Iterator[list[str]]:
        begun = len(asked)
        found: list[str] = []
        yield found
        found.extend(asked[begun:])

    return counted
