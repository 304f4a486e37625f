"""Bodies that are promised and never come: nothing scarce waits for them, and they end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest

from annotation_api.db.tables import Role
from tests.hostile.server import PATIENCE, Server, Visitor, begin, status_of

Visitors = Callable[[Role], Visitor]
SOME = uuid.UUID(int=1)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
HALF_BODIES = 25  # on each path: more than all slots together


@pytest.mark.parametrize(
    "paths",
    [
        {f"/projects/{SOME}/annotate": FORM},  # resolves the person before its form
        {"/login": FORM, "/v1/session": JSON, "/keys": FORM, "/v1/me:password": JSON},
        {"/v1/submissions": JSON, f"/v1/assignments/{SOME}:skip": JSON, f"/v1/projects/{SOME}/next": JSON},
    ],
)
def test_half_bodies_stop_nobody_and_end(server: Server, visitor: Visitors, paths: dict[str, str]) -> None:
    attacker, someone = visitor(Role.ANNOTATOR), visitor(Role.ANNOTATOR)
    lines = [attacker.begin(path, 1000, kind) for path, kind in paths.items() for _ in range(HALF_BODIES)]
    with someone.client(timeout=20) as client:
        wrong = {"email": f"{uuid.uuid4().hex}@example.org", "password": "wrong"}
        assert client.get("/v1/me").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/session", json=wrong).status_code == 401
        assert client.post(f"/v1/projects/{SOME}/next").status_code == 404
    assert {status_of(line) for line in lines} == {408}


def test_a_body_that_drips_is_cut_although_it_never_pauses(server: Server, visitor: Visitors) -> None:
    line = visitor(Role.ANNOTATOR).begin("/v1/submissions", 1000, JSON)
    line.settimeout(0.1)
    began = time.monotonic()
    while time.monotonic() - began < 10 * PATIENCE:
        try:
            assert status_of(line) == 408
            break
        except TimeoutError:
            line.sendall(b" ")
    assert time.monotonic() - began < 10 * PATIENCE


def test_what_was_cut_is_counted(server: Server, visitor: Visitors) -> None:
    someone = visitor(Role.ENGINEER)
    before = server.metric('rankloop_shed_total{what="slow-body"}', someone.key)
    assert status_of(begin(server.port, "/v1/session", 100, JSON)) == 408
    assert server.metric('rankloop_shed_total{what="slow-body"}', someone.key) == before + 1
