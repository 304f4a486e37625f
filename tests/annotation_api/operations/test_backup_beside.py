"""A backup disturbs nobody: people sign in, change things and are recorded while it runs; nor does another hold-up
cost anybody a try at a password."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from annotation_api.app import create_app
from annotation_api.db.audit import ledger
from annotation_api.db.locks import Lock
from annotation_api.db.tables import Person, Role
from annotation_api.http import auth
from annotation_api.operations import dump
from annotation_api.operations.backup import backup
from annotation_api.operations.local import OperationError, files_kept, files_mine
from annotation_api.people import service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.databases import engine_of

PASSWORD = "three plain words"


@pytest.fixture
def hasty(fresh_database: str) -> str:
    """The database's URL; who waits for a lock gives up soon."""
    return f"{fresh_database}{'&' if '?' in fresh_database else '?'}options=-c%20lock_timeout%3D300ms"


@pytest.fixture
def people(fresh_engine: Engine, factory: Any) -> dict[Role, tuple[Person, str]]:
    with Session(fresh_engine, expire_on_commit=False) as session:
        make, hashed = factory(session), auth.hash_password(PASSWORD)
        found = {role: make.person(role, password_hash=hashed) for role in Role}
        made = {role: (one, service.add_api_key(session, one, NewApiKey(name="k"))[1]) for role, one in found.items()}
        session.commit()
    return made


@pytest.fixture
def client(hasty: str, tmp_path: Path) -> Iterator[TestClient]:
    with engine_of(hasty) as engine:
        app = create_app(Settings(database_url=hasty, home=tmp_path), engine)
        yield TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rankloop-backup-", dir="/tmp") as path:
        yield Path(path)


def sign_in(client: TestClient, person: Person, password: str = PASSWORD) -> int:
    client.cookies.clear()
    return client.post("/v1/session", json={"email": person.email, "password": password}).status_code


def test_a_running_backup_stops_no_change_and_no_sign_in(
    client: TestClient, people: dict[Role, tuple[Person, str]], hasty: str, folder: Path, fresh_engine: Engine
) -> None:
    admin, key = people[Role.ADMIN]
    header = {"Authorization": f"Bearer {key}"}
    seen: list[tuple[str, list[int]]] = []

    def visit(part: str) -> None:
        made = client.post("/v1/projects", json={"name": str(uuid.uuid4())}, headers=header).status_code
        named = client.post("/v1/invitations", json={"role": "annotator"}, headers=header).status_code
        seen.append((part, [made, named, sign_in(client, admin, "wrong"), *(sign_in(client, admin) for _ in range(6))]))

    def bar(part: str, _total: int | None) -> Callable[[int], object]:
        visit(part)
        return lambda count: None

    report = backup(Settings(database_url=hasty, home=folder), folder / "all.tar", bar)
    assert report.damaged == []
    assert seen == [(part, [201, 201, 401, *[204] * 6]) for part in ("Reading the database", "Writing")]
    with Session(fresh_engine) as session:
        verdict = ledger.verify(session)
        assert (verdict.rows, verdict.broken) == (2 * 9, None)


def test_a_backup_and_what_removes_files_exclude_each_other(fresh_engine: Engine) -> None:
    refused = pytest.raises(OperationError, match="A backup is being made")
    with files_kept(fresh_engine), files_kept(fresh_engine), refused, files_mine(fresh_engine):
        pass
    with files_mine(fresh_engine), pytest.raises(OperationError, match="being removed"), files_kept(fresh_engine):
        pass


def test_a_right_password_is_no_wrong_try_when_the_audit_cannot_be_written(
    client: TestClient, people: dict[Role, tuple[Person, str]], fresh_engine: Engine
) -> None:
    someone, _ = people[Role.ANNOTATOR]
    with fresh_engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.AUDIT})
        assert [sign_in(client, someone) for _ in range(6)] == [503] * 6
    assert sign_in(client, someone) == 204


def test_a_try_that_comes_to_nothing_is_not_counted(
    client: TestClient, people: dict[Role, tuple[Person, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    someone, _ = people[Role.ANNOTATOR]

    def lost(stored: str | None, password: str) -> bool:
        raise OperationalError("SELECT 1", {}, Exception("the server is gone"))

    with monkeypatch.context() as patch:
        patch.setattr(auth, "verify_password", lost)
        assert [sign_in(client, someone) for _ in range(6)] == [503] * 6
    assert [sign_in(client, someone, "wrong") for _ in range(4)] == [401] * 4
    assert sign_in(client, someone) == 204


def test_a_wrong_password_that_cannot_be_recorded_is_still_wrong(
    client: TestClient, people: dict[Role, tuple[Person, str]], fresh_engine: Engine
) -> None:
    """On the page as in the API: the log has what the audit lacks."""
    someone, _ = people[Role.ANNOTATOR]
    with fresh_engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.AUDIT})
        assert sign_in(client, someone, "wrong") == 401
        assert client.post("/login", data={"email": someone.email, "password": "wrong"}).status_code == 401


def test_the_door_of_the_own_password_is_pardoned_likewise(
    client: TestClient, people: dict[Role, tuple[Person, str]], fresh_engine: Engine
) -> None:
    someone, _ = people[Role.ANNOTATOR]
    assert sign_in(client, someone) == 204
    change = {"current": PASSWORD, "new": "four plain words here"}
    with fresh_engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": Lock.AUDIT})
        assert [client.post("/v1/me:password", json=change).status_code for _ in range(6)] == [503] * 6
    assert client.post("/v1/me:password", json=change).status_code == 204


def test_the_hasty_engine_is_hasty(hasty: str) -> None:
    """Else the tests above would wait for ten seconds, and one of them pass for it."""
    with engine_of(hasty) as engine, engine.connect() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "300ms"


@pytest.mark.parametrize("script", [[b"SELEC 1;\n"], [b"CREATE TABLE x (n int);\n", b"COPY x FROM stdin;\n", b"a\n"]])
def test_bad_sql_in_a_backup_is_one_sentence(fresh_engine: Engine, script: list[bytes]) -> None:
    refused = pytest.raises(OperationError, match=r"The backup's database cannot be read back. Postgres said: ")
    with fresh_engine.connect() as connection, refused:
        dump.read(connection, script)
