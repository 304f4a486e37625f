"""A line for each request, with the route instead of the path, under an id that a caller may bring along."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from annotation_api.db.tables import Person, Role
from annotation_api.processes.parts import api_command
from tests.support.engine_room import PATIENCE, poll


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, "rankloop.request")
    return lambda: [record for record in caplog.records if record.name == "rankloop.request"]


def test_a_request_is_one_line(as_, person: Callable[..., Person], lines: Callable[[], list]) -> None:
    someone = person(Role.ENGINEER)
    as_(someone).get("/v1/projects/0b2f64a4-9d3e-4b7e-8a51-6b1c7f0e2d11")
    (line,) = lines()
    assert (line.method, line.route, line.status) == ("GET", "/v1/projects/{project_id}", 404)
    assert line.person == someone.pseudonym
    assert 0 < line.milliseconds < 10_000


def test_quick_routes_and_pages_tell_the_person_too(
    as_, browser_of, person: Callable[..., Person], lines: Callable[[], list]
) -> None:
    someone = person(Role.ANNOTATOR)
    as_(someone).post("/v1/projects/0b2f64a4-9d3e-4b7e-8a51-6b1c7f0e2d11/next")
    browser_of(someone).get("/account")
    assert [line.person for line in lines()] == [someone.pseudonym] * 2


def test_the_token_of_a_link_is_not_in_the_line(client: TestClient, lines: Callable[[], list]) -> None:
    client.get("/join/q9Zt3vXy_1bC-dE5fGhIjKlMnOpQrStUvWxYz0a2b4c")
    client.get("/nowhere/q9Zt3vXy_1bC-dE5fGhIjKlMnOpQrStUvWxYz0a2b4c")
    assert [line.route for line in lines()] == ["/join/{token}", "unknown"]


def test_styles_and_scripts_are_not_told(client: TestClient, lines: Callable[[], list]) -> None:
    client.get("/static/no-such.css")
    assert lines() == []


@pytest.mark.parametrize(
    ("given", "taken"), [("trace-1.a_B", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)]
)
def test_a_callers_id_is_taken_over_if_it_looks_like_one(client: TestClient, given: str, taken: bool) -> None:
    told = client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert (told == given) is taken
    assert told


def test_the_served_api_writes_json_lines_only(fresh_database: str) -> None:
    """As `rankloop up` and compose start it; nothing else comes between, and no secret."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    server = subprocess.Popen(
        api_command("127.0.0.1", port),
        env=environment | {"RANKLOOP_DATABASE_URL": fresh_database},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    key = "rl_0a1b2c3d_q9Zt3vXy_1bC-dE5fGhIjKlMnOpQrStUvWxYz0a2b4c"
    try:
        poll(lambda: _answers(port), "the API")
        headers = {"X-Request-ID": "mine", "Authorization": f"Bearer {key}"}
        assert httpx.get(f"http://127.0.0.1:{port}/v1/me?key={key}", headers=headers).status_code == 400
    finally:
        server.terminate()
        output, _ = server.communicate(timeout=PATIENCE)
    entries = [json.loads(line) for line in output.splitlines()]
    (told,) = [entry for entry in entries if entry.get("request") == "mine"]
    assert (told["logger"], told["route"], told["status"]) == ("rankloop.request", "/v1/me", 400)
    assert {entry["process"] for entry in entries} == {"api"}
    assert "q9Zt" not in output


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.TransportError:
        return False
