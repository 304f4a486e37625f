"""Requirements of OWASP ASVS 5.0 that no other test holds; docs/security.md names them by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from annotation_api.db.tables import Role
from annotation_api.web.markup.rendering import local_path
from tests.annotation_api.conftest import PASSWORD

As = Callable[..., TestClient]


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", ""]
)
def test_signing_in_leads_nowhere_else(person: Any, client: TestClient, elsewhere: str) -> None:
    """3.7.2"""
    someone = person(Role.ANNOTATOR)
    form = {"email": someone.email, "password": PASSWORD, "next": elsewhere}
    headers = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    answer = client.post("/login", data=form, headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert local_path("/projects?x=1") == "/projects?x=1"


def test_fields_of_passwords_are_known_to_browsers_and_their_managers(client: TestClient, browser_of: As) -> None:
    """6.2.6, 6.2.7"""
    fields = [
        line
        for page in (client.get("/login"), browser_of(Role.ANNOTATOR).get("/account"))
        for line in page.text.splitlines()
        if 'type="password"' in line or 'name="password"' in line
    ]
    assert len(fields) >= 2
    for field in fields:
        assert 'type="password"' in field
        assert 'autocomplete="current-password"' in field or 'autocomplete="new-password"' in field


def test_every_page_of_somebody_signed_in_has_the_way_out(browser_of: As) -> None:
    """7.4.4"""
    browser = browser_of(Role.ADMIN)
    for path in ("/", "/jobs", "/models", "/datasets", "/people", "/account"):
        assert '<form method="post" action="/logout">' in browser.get(path).text, path


def test_nothing_of_a_person_stays_in_a_cache(as_: As, browser_of: As, client: TestClient) -> None:
    """14.2.2, 14.3.2"""
    answers = (as_(Role.ENGINEER).get("/v1/me"), browser_of(Role.ENGINEER).get("/"), client.get("/v1/me"))
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * 3


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT"])
def test_methods_that_show_a_request_to_its_sender_do_not_exist(client: TestClient, method: str) -> None:
    """13.4.4"""
    assert client.request(method, "/v1/me", headers={"X-Secret": "s"}).status_code == 405


def test_folders_are_not_listed(client: TestClient) -> None:
    """13.4.3"""
    for path in ("/static/", "/static/vendored/", "/static/../app.py"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, ".css" in answer.text) == (404, False), path


def test_a_form_has_only_so_many_parts(as_: As) -> None:
    """5.2.3"""
    engineer, many = as_(Role.ENGINEER), {f"field {number}": "x" for number in range(30)}
    answer = engineer.post("/v1/datasets", data=many, files={"file": ("a.csv", b"prompt\r\nx\r\n")})
    assert (answer.status_code, "Too many fields" in answer.text) == (400, True), answer.text
