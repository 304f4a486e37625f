"""An error's page is a page of the service: who is signed in keeps the navigation and their language on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session

from annotation_api.app import create_app
from annotation_api.db.tables import DatasetKind, Role
from annotation_api.http.dependencies import public
from annotation_api.http.entry.route import DoorRoute
from annotation_api.settings import Settings

OTHERWISE = {"rankloop_language": "en"}  # what this browser chose before
BROKEN = "/broken-for-a-test"


def _fail() -> None:
    raise ValueError("the secret inside")


@pytest.fixture
def broken(app: FastAPI) -> Iterator[None]:
    """A page with a fault of ours."""
    route = DoorRoute(BROKEN, _fail, dependencies=[public])
    app.router.routes.insert(0, route)
    yield
    app.router.routes.remove(route)


@pytest.fixture
def engineer(browser_of: Any, person: Any, session: Session) -> TestClient:
    someone = person(Role.ENGINEER)
    someone.language = "zh"
    session.flush()
    browser: TestClient = browser_of(someone)
    browser.cookies.update(OTHERWISE)
    return browser


def _has_the_frame(answer: Any) -> bool:
    return '<html lang="zh-Hans"' in answer.text and 'href="/jobs"' in answer.text and 'href="/account"' in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "more"),
    [
        ("GET", "/people", 403, {}),
        ("GET", "/nothing", 404, {}),
        ("GET", "/jobs/00000000-0000-4000-8000-000000000000", 404, {}),
        ("POST", "/nothing", 404, {}),
        ("PUT", "/", 405, {}),
        ("POST", "/datasets", 410, {"data": {"token": "x" * 43, "name": "a", "kind": "prompts"}}),
        ("GET", "/jobs/7", 422, {}),
        ("POST", "/datasets", 422, {"data": {"kind": "none"}}),
        ("GET", BROKEN, 500, {}),
    ],
)
def test_who_is_signed_in_keeps_the_frame_and_the_language(
    engineer: TestClient, broken: None, method: str, path: str, status: int, more: Any
) -> None:
    answer = engineer.request(method, path, **more)
    assert (answer.status_code, _has_the_frame(answer)) == (status, True), answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("path", "place"), [("/jobs/7", "7"), ("/jobs?cursor=x", "cursor"), ("/models/7?kind=sft", "7")]
)
def test_a_person_reads_no_pointer(engineer: TestClient, path: str, place: str) -> None:
    shown = engineer.get(path, headers={"Accept": "text/html"})
    assert shown.status_code == 422
    assert f"<code>{place}</code> " in shown.text
    assert "path:" not in shown.text
    assert "query:" not in shown.text


def test_what_cannot_be_done_now_keeps_them_too(engineer: TestClient, make: Any) -> None:
    dataset = make.dataset(DatasetKind.PROMPTS, [])
    answer = engineer.post(f"/datasets/{dataset.id}/undo")
    assert (answer.status_code, _has_the_frame(answer)) == (409, True), answer.text


@pytest.fixture
def asked(session: Session) -> list[str]:
    """What the database is asked."""
    statements: list[str] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *given: statements.append(given[2]))
    return statements


def test_a_cookie_is_looked_up_while_few_ask(client: TestClient, app: FastAPI, asked: list[str]) -> None:
    """A thousand strangers with invented cookies take no thread and no connection from those who work."""
    client.cookies.set("rankloop", "x" * 43)
    places = app.state.error_pages

    def ask() -> int:
        asked.clear()
        answer = client.get("/nothing", headers={"Accept": "text/html"})
        assert (answer.status_code, 'href="/jobs"' in answer.text) == (404, False)
        return len(asked)

    assert ask() > 0
    while places.acquire(blocking=False):
        pass
    assert ask() == 0
    places.release()
    assert ask() > 0


def test_of_a_stranger_nothing_is_asked_and_nothing_is_told(client: TestClient, broken: None, asked: list[str]) -> None:
    for path, status in (("/nothing", 404), (BROKEN, 500)):
        answer = client.get(path, headers={"Accept": "text/html", "Accept-Language": "zh"})
        assert answer.status_code == status
        assert "zh-Hans" in answer.text
        assert 'href="/jobs"' not in answer.text
    assert asked == []


def test_a_fault_has_its_page_without_a_database() -> None:
    app = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:1/none"))
    app.router.routes.insert(0, DoorRoute(BROKEN, _fail, dependencies=[public]))
    headers, cookies = {"Accept": "text/html"}, {"rankloop": "a session", "rankloop_language": "zh"}
    answer = TestClient(app, base_url="http://localhost", headers=headers, cookies=cookies).get(BROKEN)
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "zh-Hans" in answer.text


def test_where_even_the_page_fails_the_fault_is_told_as_json(
    client: TestClient, broken: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation_api.web.markup.rendering.render", _no_page)
    answer = client.get(BROKEN, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:rankloop:internal")


def _no_page(*_: Any, **__: Any) -> None:
    raise KeyError("templates")
