"""Limits are counted in Postgres: several processes share them, and no crowd slips through between look and count."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session
from starlette.requests import Request

from annotation_api.db import limits
from annotation_api.db.engine import make_engine
from annotation_api.db.limits import Tries, Use
from annotation_api.db.tables import Person, RateCounter, Role
from annotation_api.http import auth
from annotation_api.http.scopes import address_of
from annotation_api.people import tries as doors
from annotation_api.people.tries import Knock
from annotation_api.settings import Settings, SettingsError

As = Callable[..., TestClient]
RIGHT = "three plain words"
CSV = b"prompt,chosen,rejected\nWhat is 2 + 2?,4,5\n"


def age(session: Session, seconds: int) -> None:
    """Let that time go by for all counters."""
    session.execute(text(f"UPDATE rate_counters SET ends_at = ends_at - interval '{seconds} seconds'"))
    session.commit()


def spent(session: Session, key: str) -> int | None:
    return session.scalar(select(RateCounter.spent).where(RateCounter.key == key))


# ---------------------------------------------------------------- counting


def test_a_use_beyond_the_limit_is_refused_and_not_counted(session: Session) -> None:
    assert limits.spend(session, [Use("k", 10, 60, amount=7)]) is None
    exceeded = limits.spend(session, [Use("k", 10, 60, amount=4), Use("other", 10, 60)])
    assert exceeded is not None
    assert exceeded.use.key == "k"
    assert 50 <= exceeded.wait <= 60
    assert (spent(session, "k"), spent(session, "other")) == (7, None)
    assert limits.spend(session, [Use("k", 10, 60, amount=3)]) is None


def test_the_wait_is_what_is_left_of_the_window_which_begins_with_the_first_use(session: Session) -> None:
    limits.spend(session, [Use("k", 1, 60)])
    age(session, 45)
    exceeded = limits.spend(session, [Use("k", 1, 60)])
    assert exceeded is not None
    assert 5 <= exceeded.wait <= 15
    age(session, 15)
    assert limits.spend(session, [Use("k", 1, 60)]) is None


def test_the_longest_wait_counts(session: Session) -> None:
    uses = [Use("short", 1, 60), Use("long", 1, 600)]
    limits.spend(session, uses)
    exceeded = limits.spend(session, uses)
    assert exceeded is not None
    assert exceeded.use.key == "long"


def test_old_counters_are_cleared(session: Session) -> None:
    for number in range(20):
        limits.spend(session, [Use(f"k{number}", 1, 60)])
    age(session, 61)
    limits.spend(session, [Use("new", 1, 60)])
    assert session.scalars(select(RateCounter.key)).all() == ["new"]


def test_two_processes_that_ask_at_once_share_one_limit(fresh_database: str) -> None:
    """Each engine stands for a process; of 64 uses at once exactly the 10 that are allowed pass."""
    engines = [make_engine(fresh_database) for _ in range(2)]
    start = threading.Barrier(16)

    def use(number: int) -> int:
        start.wait()
        passed = 0
        for _ in range(4):
            with Session(engines[number % 2]) as session:
                passed += limits.spend(session, [Use("a", 10, 60), Use("b", 1000, 60)]) is None
        return passed

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(use, range(16))) == 10
    for engine in engines:
        engine.dispose()


def test_counting_does_not_make_others_wait_for_the_work(fresh_engine: Engine) -> None:
    """The first request still works in its transaction when the second is counted."""
    with Session(fresh_engine) as first, Session(fresh_engine) as second:
        limits.spend(first, [Use("k", 10, 60)])
        first.execute(text("SELECT 1"))
        second.execute(text("SET LOCAL lock_timeout = '1s'"))
        assert limits.spend(second, [Use("k", 10, 60)]) is None


# ---------------------------------------------------------------- signing in


def sign_in(client: TestClient, email: str, password: str) -> int:
    return client.post("/v1/session", json={"email": email, "password": password}).status_code


def wait_of(client: TestClient, email: str, password: str = "wrong") -> int:
    """The seconds that a try must wait; 0 if it was made."""
    answer = client.post("/v1/session", json={"email": email, "password": password})
    return int(answer.headers.get("retry-after", 0))


def test_after_five_wrong_passwords_each_further_one_makes_the_next_wait_twice_as_long(client, person, session) -> None:
    email = person().email
    assert [wait_of(client, email) for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(9):
        waits.append(wait_of(client, email, RIGHT))
        age(session, waits[-1])
        assert wait_of(client, email) == 0
    assert waits == [10, 20, 40, 80, 160, 320, 640, 900, 900]
    age(session, 900)
    assert sign_in(client, email, RIGHT) == 204


def test_the_answer_says_how_long(client: TestClient, person: Callable[..., Person], session: Session) -> None:
    email = person().email
    for _ in range(5):
        client.post("/login", data={"email": email, "password": "wrong"})  # the page counts with the API
    answer = client.post("/v1/session", json={"email": email, "password": RIGHT})
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:rankloop:too-many-attempts")
    assert answer.json()["detail"] == "Too many wrong tries from here. Try again in 10 seconds."
    assert answer.headers["retry-after"] == "10"
    assert (doors.in_words(1), doors.in_words(101)) == ("1 second", "2 minutes")


def test_a_day_without_a_try_forgets_them_all(client: TestClient, person: Callable[..., Person], session) -> None:
    email = person().email
    for _ in range(5):
        sign_in(client, email, "wrong")
    age(session, 24 * 3600)
    assert [wait_of(client, email) for _ in range(5)] == [0] * 5


def test_a_crowd_at_once_gets_no_more_tries_than_one_after_another(fresh_database: str) -> None:
    engines = [make_engine(fresh_database) for _ in range(2)]
    start = threading.Barrier(16)

    def knock(number: int) -> int:
        start.wait()
        with Session(engines[number % 2]) as session:
            return sum(limits.attempt(session, [Tries("k"), Tries("l", free=100)]) is None for _ in range(3))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(knock, range(16))) == 5
    with Session(engines[0]) as session:
        assert (spent(session, "k"), spent(session, "l")) == (5, 5)
    for engine in engines:
        engine.dispose()


def test_success_forgets_the_slips_and_gives_its_own_try_back(client, person, session: Session) -> None:
    email = person().email
    for _ in range(3):
        assert [sign_in(client, email, "wrong") for _ in range(4)] == [401] * 4
        client.cookies.clear()
        assert sign_in(client, email, RIGHT) == 204
        client.cookies.clear()
    assert spent(session, STRANGERS) == 12
    assert limits.tried(session, doors.of_account(email)) == 0


# ---------------------------------------------------------------- nobody is locked out by others

STRANGERS = f"strangers {limits.hidden('testclient')}"


def from_(app: FastAPI, address: str) -> TestClient:
    return TestClient(app, base_url="http://localhost", client=(address, 1), raise_server_exceptions=False)


def test_tries_from_elsewhere_shut_an_account_for_nobody(app: FastAPI, person: Callable[..., Person]) -> None:
    email = person(Role.ADMIN).email
    for number in range(12):
        for _ in range(5):
            assert sign_in(from_(app, f"10.0.0.{number}"), email, "wrong") == 401
    assert sign_in(from_(app, "10.9.9.9"), email, RIGHT) == 204


def test_a_known_device_comes_in_while_its_own_address_is_slowed_down(app: FastAPI, client, person) -> None:
    email, other = person(Role.ADMIN).email, person().email
    assert sign_in(client, email, RIGHT) == 204
    stranger = from_(app, "testclient")
    assert [sign_in(stranger, email, "wrong") for _ in range(6)] == [401] * 5 + [429]
    client.delete("/v1/session")
    assert sign_in(client, email, RIGHT) == 204
    assert sign_in(client, other, RIGHT) == 204  # in a browser that two share both are known
    client.delete("/v1/session")
    assert sign_in(stranger, email, "wrong") == 429
    assert sign_in(client, email, RIGHT) == 204


def test_a_known_device_may_not_guess_for_ever_either(client: TestClient, person: Callable[..., Person]) -> None:
    email = person().email
    assert sign_in(client, email, RIGHT) == 204
    assert [sign_in(client, email, "wrong") for _ in range(6)] == [401] * 5 + [429]


def test_a_mark_is_of_one_person_and_one_password(client, person: Callable[..., Person], session: Session) -> None:
    someone, other = person(), person()
    mark = doors.device_token(someone)
    knock = Knock("10.0.0.1", (mark,))
    assert doors.is_known(someone, knock)
    assert not doors.is_known(other, knock)
    assert not doors.is_known(someone, Knock("10.0.0.1", (mark[:-2], "", "rubbish", f"{other.id}{mark[36:]}")))
    someone.password_hash = auth.hash_password("four plain words here")
    assert not doors.is_known(someone, knock)


def test_a_mark_ends(person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch) -> None:
    someone = person()
    mark = doors.device_token(someone)
    monkeypatch.setattr("time.time", lambda now=time.time: now() + doors.DEVICE_LIFE.total_seconds() + 2)
    assert not doors.is_known(someone, Knock("10.0.0.1", (mark,)))


def test_tries_at_made_up_names_shut_an_address_for_nobody(client, person, session: Session) -> None:
    """101 of them are nothing; after 300 each further try of a stranger takes two seconds, whoever it is."""
    email, known = person().email, person().email
    assert sign_in(client, known, RIGHT) == 204
    knock = Knock("testclient")
    for number in range(101):
        limits.attempt(session, doors.at_sign_in(f"{number}@example.org", None, knock))
    assert sign_in(client, email, RIGHT) == 204
    client.delete("/v1/session")
    for number in range(101, 300):
        limits.attempt(session, doors.at_sign_in(f"{number}@example.org", None, knock))
    assert 1 <= wait_of(client, person().email, RIGHT) <= 2
    assert sign_in(client, known, RIGHT) == 204
    age(session, 2)
    assert sign_in(client, person().email, RIGHT) == 204


def test_addresses_of_one_subscriber_are_one() -> None:
    assert doors.network("2001:db8:1:2:3::4") == doors.network("2001:db8:1:2:9::9") == "2001:db8:1:2::/64"
    assert doors.network("2001:db8:1:3::4") != doors.network("2001:db8:1:2::4")
    assert doors.network("10.0.0.1") == "10.0.0.1"


def test_counters_do_not_hold_addresses(client: TestClient, person: Callable[..., Person], session: Session) -> None:
    email = person().email
    sign_in(client, email, "wrong")
    keys = session.scalars(select(RateCounter.key)).all()
    assert len(keys) == 2
    assert not any(email in key or "testclient" in key for key in keys)


@pytest.mark.parametrize("jump", ["-1 day", "1 day"])
def test_a_clock_that_jumped_shuts_no_door(session: Session, jump: str) -> None:
    """What was counted while the clock stood a day ahead would end a day later than it can."""
    tries, use = [Tries("t", free=1)], [Use("u", 1, 60)]
    assert limits.attempt(session, tries) is None
    assert limits.spend(session, use) is None
    assert limits.attempt(session, tries) == 10
    session.execute(text(f"UPDATE rate_counters SET ends_at = ends_at - interval '{jump}'"))
    assert limits.attempt(session, tries) is None
    assert limits.spend(session, use) is None


def test_the_own_password_is_not_guessed_either(browser_of: As, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    wrong = {"current": "wrong", "new": "four plain words here"}
    assert [browser.post("/v1/me:password", json=wrong).status_code for _ in range(6)] == [422] * 5 + [429]


# ---------------------------------------------------------------- quotas


@pytest.fixture
def few(app: FastAPI) -> None:
    """Two of everything in an hour, and 1000 bytes, a form's parts and all."""
    names = ("jobs_per_hour", "uploads_per_hour", "api_keys_per_hour")
    few = dict.fromkeys(names, 2) | {"upload_bytes_per_hour": 1000}
    app.state.settings = app.state.settings.model_copy(update=few)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("page", [False, True])
def test_api_keys_are_limited(as_: As, browser_of: As, person: Callable[..., Person], session, page: bool) -> None:
    someone = person()
    client = browser_of(someone) if page else as_(someone)
    send = (lambda: client.post("/keys", data={"name": "k"})) if page else lambda: as_key(client)
    assert [send().status_code for _ in range(2)] == [200 if page else 201] * 2
    assert send().status_code == 429
    answer = as_key(as_(someone))
    assert answer.status_code == 429
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert answer.json()["type"] == "urn:rankloop:quota-reached"
    assert re.fullmatch(
        r"The limit of 2 API keys made in an hour is reached. Try again in \d\d minutes, or ask an admin to raise "
        r"RANKLOOP_API_KEYS_PER_HOUR.",
        answer.json()["detail"],
    )
    assert as_key(as_(person())).status_code == 201  # another person's count is their own
    age(session, 3600)
    assert send().status_code == (200 if page else 201)


def as_key(client: TestClient):
    return client.post("/v1/api-keys", json={"name": "k"})


@pytest.mark.usefixtures("few")
def test_jobs_are_limited_and_a_pipeline_counts_as_its_three(as_: As) -> None:
    client = as_(Role.ENGINEER)
    job = {"stage": "sft", "inputs": {"model": {"id": "x"}}}
    assert client.post("/v1/pipelines", json={}).status_code == 429
    assert [client.post("/v1/jobs", json=job).status_code for _ in range(3)] == [422, 422, 429]
    assert client.post("/v1/jobs:validate", json=job).status_code != 429


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/datasets:preview", "/datasets/preview"])
def test_uploads_are_limited_in_number_and_in_bytes(as_: As, session: Session, path: str) -> None:
    client = as_(Role.ENGINEER)

    def upload(content: bytes):
        return client.post(path, data={"kind": "preferences"}, files={"file": ("a.csv", content)})

    assert upload(CSV).status_code in (200, 201)
    assert upload(CSV + b"x" * 700).status_code == 429
    assert upload(CSV).status_code in (200, 201)
    answer = upload(b"")
    assert answer.status_code == 429
    assert session.scalar(select(func.count()).select_from(RateCounter)) == 2


# ---------------------------------------------------------------- behind a proxy


@pytest.mark.parametrize(
    ("near", "forwarded", "seen"),
    [
        ("9.9.9.9", ["1.1.1.1"], "9.9.9.9"),  # no proxy of ours: what it says is not believed
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),  # the caller wrote the first
        ("10.0.0.1", ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),  # through two of ours
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["1.1.1.1, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("testclient", ["1.1.1.1"], "testclient"),
    ],
)
def test_only_trusted_proxies_say_who_calls(near: str, forwarded: list[str], seen: str) -> None:
    settings = Settings(trusted_proxies="10.0.0.0/30")  # type: ignore[arg-type]
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    request = Request({"type": "http", "client": (near, 1), "headers": headers})
    assert address_of(request, settings) == seen
    assert address_of(request, Settings()) == near


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"RANKLOOP_TRUSTED_PROXIES cannot be used: 'nginx' is neither an address"):
        Settings.from_environment({"RANKLOOP_TRUSTED_PROXIES": "10.0.0.1,nginx"})
