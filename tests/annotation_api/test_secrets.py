"""No secret in a repr, in an error's text, in an answer or in a row."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from annotation_api.cli import client
from annotation_api.db import limits
from annotation_api.db.engine import DatabaseUnavailable, make_engine, parse_url
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.sql import rows
from annotation_api.db.tables import Base, Job, Person, Role
from annotation_api.http import auth
from annotation_api.settings import Settings, SettingsError

SECRET = "hunter2-and-more"
URL = f"postgresql://me:{SECRET}@127.0.0.1:9/none"
As = Callable[..., TestClient]


def shown(thing: object) -> str:
    return f"{thing!r} {thing} {thing:}"


def test_settings_do_not_show_their_secrets() -> None:
    settings = Settings(database_url=URL, metrics_token=SECRET)
    assert SECRET not in shown(settings)
    assert SECRET not in repr(settings.model_copy(update={"log": "json"}))
    assert {name for name, field in Settings.model_fields.items() if not field.repr} >= {
        "database_url",
        "metrics_token",
    }


@pytest.mark.parametrize(
    "environment",
    [
        {"RANKLOOP_DATABASE_URL": f"mysql://me:{SECRET}@db/x"},
        {"RANKLOOP_DATABASE_URL": f"postgresql://{SECRET}:{SECRET}@db/x"},
        {"RANKLOOP_METRICS_TOKEN": SECRET[:7]},
    ],
)
def test_a_refused_setting_is_not_repeated(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert SECRET[:7] not in "".join(traceback.format_exception(caught.value))


def test_an_engine_and_its_errors_do_not_show_the_password() -> None:
    engine = make_engine(URL)
    assert SECRET not in shown(engine) + shown(engine.url) + shown(parse_url(URL))
    with pytest.raises(DatabaseUnavailable) as caught:
        engine.connect()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_error_of_the_database_does_not_show_what_was_to_be_stored(session: Session) -> None:
    wrong = [lambda: session.execute(text("SELECT 1 / 0, :given"), {"given": SECRET}), lambda: divide(session)]
    for fail in wrong:
        with pytest.raises(DBAPIError) as caught, session.begin_nested():
            fail()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert "division by zero" in str(caught.value)


def divide(session: Session) -> None:
    rows(session, "SELECT 1 / 0, %(given)s", given=SECRET)


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    for url in (f"postgresql://me:{SECRET}@host:port/x", f"oracle://me:{SECRET}@db/x", f"::{SECRET}"):
        with pytest.raises(DatabaseUnavailable) as caught:
            make_engine(url)
        assert SECRET not in str(caught.value)


def test_the_clients_credentials_do_not_show_the_key() -> None:
    credentials = client.Credentials("http://127.0.0.1:8000", f"rl_abc_{SECRET}")
    assert SECRET not in shown(credentials)
    assert SECRET not in shown(client.Client(credentials))


def test_rows_do_not_show_what_they_hold(make, session: Session) -> None:
    """A row's repr is its class and place: no hash, no config, no inputs."""
    job: Job = make.job(config={"note": SECRET}, inputs={"note": SECRET})
    person: Person = make.person(password_hash=SECRET, name=SECRET)
    assert SECRET not in shown(job) + shown(person)
    assert [mapper.class_.__name__ for mapper in Base.registry.mappers if "__repr__" in vars(mapper.class_)] == []


def test_nothing_that_is_handed_out_once_is_stored(as_: As, client: TestClient, person, session: Session) -> None:
    """Keys, links, session cookies and passwords: looked for in every column of every table."""
    someone = person(Role.ADMIN)
    admin = as_(someone)
    token = admin.post("/v1/invitations", json={"role": "annotator"}, headers={"Idempotency-Key": "a"}).json()["token"]
    key = admin.post("/v1/api-keys", json={"name": "k"}, headers={"Idempotency-Key": "b"}).json()["key"]
    new = {"email": "new@example.org", "name": "New", "password": f"{SECRET} new"}
    client.post(f"/v1/invitations/{token}:accept", json=new)
    client.post("/v1/session", json={"email": someone.email, "password": f"{SECRET} wrong"})
    client.post("/v1/session", json={"email": someone.email, "password": "three plain words"})
    cookie = client.cookies["rankloop"]
    secrets = [token, key, key.split("_", 2)[2], cookie, SECRET, "three plain words", f"sign-in\n{someone.email}"]
    session.flush()
    for table in Base.metadata.sorted_tables:
        rows = session.scalars(text(f'SELECT t::text FROM "{table.name}" AS t')).all()
        assert [secret for secret in secrets for row in rows if secret in row] == [], table.name


def test_answers_do_not_repeat_a_password(client: TestClient, person: Callable[..., Person]) -> None:
    """Refused bodies are explained with their values, but not with these."""
    bodies = [
        ("/v1/session", {"email": 5, "password": SECRET}),
        ("/v1/session", {"email": "a@example.org", "password": SECRET * 50}),
        ("/v1/session", {"email": "a@example.org", "pasword": SECRET}),
        ("/v1/session", {"email": "a@example.org", "password": [SECRET]}),
        ("/v1/invitations/x:accept", {"email": "a@example.org", "name": "A", "password": SECRET[:9]}),
    ]
    for path, body in bodies:
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert SECRET[:9] not in answer.text, body


def test_small_records_do_not_show_secrets() -> None:
    caller_parts = shown(limits.Use(limits.hidden("sign-in", SECRET), 5, 60))
    key, prefix = auth.new_api_key()
    assert SECRET not in caller_parts
    assert key not in shown(auth.hash_token(key)) + prefix


def test_the_embedded_server_does_not_show_its_password(tmp_path) -> None:
    server = EmbeddedPostgres(tmp_path)
    assert "://" not in shown(server) or "***" in shown(server)
