"""Another site cannot use a person's cookie on any route, and the service answers to its own names only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import AuditRow, Role
from annotation_api.http.scopes import SAFE_METHODS


def addresses(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route, with ids that name nothing."""
    return [
        (method, re.sub(r"\{[^}]+\}", str(uuid.uuid4()), str(context.path)))
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in sorted(context.methods or ())
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
def test_no_unsafe_route_takes_a_cookie_from_another_site(
    app: FastAPI, browser_of: Callable[..., TestClient], session: Session, headers: dict[str, str]
) -> None:
    browser = browser_of(Role.ADMIN)
    del browser.headers["Sec-Fetch-Site"], browser.headers["Accept"]
    passed = []
    for method, path in addresses(app):
        if method in SAFE_METHODS:
            continue
        answer = browser.request(method, path, headers=headers)
        if answer.status_code != 403 or answer.json()["type"] != "urn:rankloop:cross-site":
            passed.append(f"{method} {path}: {answer.status_code}")
    assert passed == []
    assert session.scalar(select(func.count()).select_from(AuditRow)) == 0


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2", "evil.example:8000", ""])
def test_no_route_answers_to_another_name(app: FastAPI, as_: Callable[..., TestClient], host: str) -> None:
    """A name that an attacker points at this machine does not make a browser's request ours."""
    client = as_(Role.ADMIN)
    places = [*addresses(app), ("GET", "/openapi.json"), ("GET", "/static/style.css"), ("GET", "/nowhere")]
    answered = [
        f"{method} {path}"
        for method, path in places
        if client.request(method, path, headers={"Host": host}).status_code != 400
    ]
    assert answered == []
