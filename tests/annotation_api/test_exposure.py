"""The start matrix: where the service may be reached, with and without an admin, sample passwords, a container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.app import create_app
from annotation_api.db.tables import Person, Role
from annotation_api.exposure import is_loopback
from annotation_api.settings import Settings, SettingsError, sample_password
from annotation_api.up import CannotStart, Service
from tests.support.live import app_of

BEYOND = "192.0.2.7"  # an address that other machines reach
GOOD = "postgresql://rankloop:f3a9c1@localhost/rankloop"
SAMPLE = "postgresql://postgres:postgres@localhost/rankloop"

Make = Callable[..., TestClient]


@pytest.fixture
def reached(engine: Engine, session: Session, tmp_path: Path) -> Make:
    """`reached(at, url=..., published=...)`: a client of a fresh app, whose server has the address `at`."""

    def make(at: str, url: str = GOOD, published: bool = False) -> TestClient:
        settings = Settings(database_url=url, home=tmp_path, published_on_loopback=published)
        app = app_of(settings, engine)
        app.state.sessions = sessionmaker(bind=session.connection(), join_transaction_mode="create_savepoint")
        host = f"[{at}]" if ":" in at else at
        return TestClient(app, base_url=f"http://{host}", headers={"Host": "localhost"})

    return make


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize("url", [GOOD, SAMPLE])
@pytest.mark.parametrize(
    ("at", "published", "checked"),
    [
        ("127.0.0.1", False, False),
        ("::1", False, False),
        (BEYOND, False, True),
        ("2001:db8::7", False, True),
        (BEYOND, True, False),  # in its container, as docker-compose.yml runs it
    ],
)
def test_beyond_loopback_nothing_is_served_until_it_is_safe(
    reached: Make, person: Callable[..., Person], admin: bool, url: str, at: str, published: bool, checked: bool
) -> None:
    if admin:
        person(Role.ADMIN)
    client = reached(at, url, published)
    fine = not checked or (admin and url == GOOD)
    for path in ("/login", "/readyz", "/static/style.css", "/v1/me"):
        answer = client.get(path)
        assert (answer.status_code != 503) == fine, path
        if not fine:
            assert answer.json()["type"] == "urn:rankloop:not-open-yet"
            assert answer.headers["retry-after"] == "60"
            assert answer.headers["x-frame-options"] == "DENY"
    assert client.get("/healthz").status_code == 200


def test_it_opens_as_soon_as_there_is_an_admin(reached: Make, person: Callable[..., Person]) -> None:
    client = reached(BEYOND)
    answer = client.get("/login")
    assert answer.json()["detail"] == (
        "This service is not open to other machines: there is no admin yet. Start it on 127.0.0.1 first and open "
        "the set-up link."
    )
    person(Role.ADMIN)
    assert client.get("/login").status_code == 200


def test_the_log_says_once_what_to_do(reached: Make, caplog: pytest.LogCaptureFixture) -> None:
    client = reached(BEYOND)
    for _ in range(3):
        client.get("/login")
    assert caplog.text.count("RANKLOOP_PUBLISHED_ON_LOOPBACK=true") == 1


def test_a_lost_database_is_503_here_too(tmp_path: Path) -> None:
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none", home=tmp_path)
    client = TestClient(create_app(settings), base_url=f"http://{BEYOND}", headers={"Host": "localhost"})
    answer = client.get("/login")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:rankloop:database-unavailable")


@pytest.mark.parametrize(
    ("host", "admin", "sample", "says"),
    [
        ("0.0.0.0", False, False, "Refusing to listen on 0.0.0.0: there is no admin yet."),
        ("::", False, False, "Refusing to listen on ::: there is no admin yet."),
        ("0.0.0.0", True, True, "Refusing to listen on 0.0.0.0: the password in RANKLOOP_DATABASE_URL is a sample"),
        ("rank.example.org", False, False, "Refusing to listen on rank.example.org: there is no admin yet."),
        ("0.0.0.0", True, False, None),
        ("127.0.0.1", False, True, None),
        ("localhost", False, True, None),
    ],
)
def test_up_looks_before_it_listens(
    fresh_engine: Engine, tmp_path: Path, factory, host: str, admin: bool, sample: bool, says: str | None
) -> None:
    if admin:
        with Session(fresh_engine) as session:
            factory(session).person(Role.ADMIN)
            session.commit()
    service = Service(Settings(home=tmp_path, database_url=SAMPLE if sample else GOOD), host, 1)
    if says is None:
        service._people(fresh_engine)
        assert (service.setup_url is None) == admin
    else:
        with pytest.raises(CannotStart) as caught:
            service._people(fresh_engine)
        assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("rank.example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("login", "sample"),
    [
        ("postgres:postgres@", True),
        ("rankloop:rankloop@", True),
        ("rankloop:change-me@", True),
        ("rankloop:Password@", True),
        ("rankloop:%63hangeme@", True),  # written otherwise, the same
        ("anna:anna@", True),  # the user's name
        ("rankloop:f3a9c1@", False),
        ("rankloop@", False),  # by certificate or peer
        ("", False),
    ],
)
def test_a_sample_password_is_refused_for_a_database_on_another_machine(login: str, sample: bool) -> None:
    url = f"postgresql://{login}db.example.org:5432/rankloop"
    assert sample_password(url) == sample
    if sample:
        with pytest.raises(SettingsError, match="RANKLOOP_DATABASE_URL cannot be used: its password is a sample"):
            Settings.from_environment({"RANKLOOP_DATABASE_URL": url})
    else:
        Settings.from_environment({"RANKLOOP_DATABASE_URL": url})
    for here in ("localhost", "127.0.0.1", "[::1]", ""):
        Settings.from_environment({"RANKLOOP_DATABASE_URL": f"postgresql://{login}{here}/rankloop"})


def test_a_password_among_the_parameters_is_looked_at_too() -> None:
    with pytest.raises(SettingsError, match="its password is a sample"):
        Settings.from_environment({"RANKLOOP_DATABASE_URL": "postgresql:///x?host=10.0.0.1&user=a&password=secret"})
