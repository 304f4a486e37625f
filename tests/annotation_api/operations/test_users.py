"""On the machine: whoever runs the service lets people in again, the last admin included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from annotation_api.cli import main
from annotation_api.db.tables import AuditRow, Person, Role
from annotation_api.http import auth
from annotation_api.people import second_factor
from annotation_api.settings import Settings
from tests.support.live import app_of

EMAIL, PASSWORD, NEW = "last@example.org", "three plain words", "four plain words here"


@pytest.fixture
def client(
    fresh_database: str, fresh_engine: Engine, factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    monkeypatch.setenv("RANKLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("RANKLOOP_PUBLIC_URL", "http://rank.example.org")
    with Session(fresh_engine) as session:
        person = factory(session).person(Role.ADMIN, email=EMAIL, password_hash=auth.hash_password(PASSWORD))
        second_factor.begin(session, person)
        person.second_factor_at = func.now()
        session.commit()
    app = app_of(Settings(database_url=fresh_database, home=tmp_path), fresh_engine)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def sign_in(client: TestClient, password: str = PASSWORD) -> Any:
    return client.post("/v1/session", json={"email": EMAIL, "password": password})


def actions(engine: Engine) -> list[tuple[str, str]]:
    with Session(engine) as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.action.startswith("rankloop")).order_by(AuditRow.seq))
        return [(row.action, row.address) for row in rows]


def test_the_last_admin_gets_a_new_password_and_loses_the_factor_when_asked(
    client: TestClient, fresh_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [sign_in(client, "wrong").status_code for _ in range(6)] == [401] * 5 + [429]
    assert main(["users", "reset", EMAIL.upper(), "--json"]) == 0
    url = json.loads(capsys.readouterr().out)["url"]
    assert url.startswith("http://rank.example.org/reset/")
    assert client.post(f"/v1/resets/{url.rpartition('/')[2]}:accept", json={"password": NEW}).status_code == 204
    assert sign_in(client, NEW).json()["type"] == "urn:rankloop:second-factor-needed"
    assert main(["users", "reset", EMAIL, "--second-factor"]) == 0
    assert "sets a new password, once and within 24 hours: http://rank.example.org/reset/" in capsys.readouterr().out
    assert sign_in(client, NEW).status_code == 204
    assert actions(fresh_engine) == [("rankloop users reset", "this machine")] * 2


def test_a_link_has_nobody_s_password_in_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANKLOOP_PUBLIC_URL")
    monkeypatch.setenv("RANKLOOP_URL", "http://u:secret@h:81")
    monkeypatch.setenv("RANKLOOP_API_KEY", "rl_x")
    assert main(["users", "reset", EMAIL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"].startswith("http://h:81/reset/")


def test_unlock_forgets_wrong_tries(client: TestClient, fresh_engine: Engine) -> None:
    for _ in range(6):
        sign_in(client, "wrong")
    assert main(["users", "unlock", EMAIL]) == 0
    assert sign_in(client).json()["type"] == "urn:rankloop:second-factor-needed"
    assert actions(fresh_engine) == [("rankloop users unlock", "this machine")]


def test_promote_makes_an_admin_of_somebody_who_was_retired(
    client: TestClient, fresh_engine: Engine, factory: Any
) -> None:
    with Session(fresh_engine) as session:
        factory(session).person(Role.ANNOTATOR, email="ann@example.org", active=False)
        session.commit()
    assert main(["users", "promote", "ann@example.org"]) == 0
    with Session(fresh_engine) as session:
        person = session.scalars(select(Person).where(Person.email == "ann@example.org")).one()
        assert (person.role, person.active) == (Role.ADMIN, True)


def test_an_unknown_address_is_one_sentence(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "reset", "nobody@example.org"]) == 1
    assert capsys.readouterr().err == "rankloop users: There is no account with the address nobody@example.org.\n"
