"""`rankloop serve`: parts of the service as containers and supervisors start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.db.jobs import store as job_store
from annotation_api.db.tables import Role
from annotation_api.http.entry.listening import STREAM_GRACE
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.processes import parts
from annotation_api.processes.part import Part
from annotation_api.processes.supervision import Child
from annotation_api.settings import Settings
from tests.support.engine_room import poll

SERVE = [sys.executable, "-c", "from annotation_api.cli import main; raise SystemExit(main())", "serve"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def run(*arguments: str, **extra: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RANKLOOP_", "RAY_"))}
        running.append(subprocess.Popen([*SERVE, *arguments], env=clean | extra, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.postgres
def test_sigterm_ends_the_api_in_seconds_though_somebody_watches_a_job(
    fresh_database: str, fresh_engine: Engine, factory: Any, start: Start
) -> None:
    with Session(fresh_engine) as session, session.begin():
        make = factory(session)
        person = make.person(Role.ENGINEER)
        make.job(created_by=person.id)
        job = job_store.claim(session, "host:1", 60)
        assert job is not None
        job_id, key = job.id, people.add_api_key(session, person, NewApiKey(name="watcher"))[1]
    port = free_port()
    api = start("api", "--port", str(port), RANKLOOP_DATABASE_URL=fresh_database)
    assert psutil.Process(api.pid).children() == []
    poll(lambda: answers(port), "the API")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("GET", f"http://127.0.0.1:{port}/v1/jobs/{job_id}/events", headers=headers, timeout=30) as stream:
        next(stream.iter_lines())
        asked = time.monotonic()
        api.send_signal(signal.SIGTERM)
        assert api.wait(30) in (0, -signal.SIGTERM)
        assert time.monotonic() - asked < STREAM_GRACE + 5


def answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["nonsense"], {}, "choose from"),
        (["ray-head"], {}, "RAY_AUTH_MODE is not set"),
        (["ray-node"], {"RAY_AUTH_MODE": "token"}, "RANKLOOP_RAY_ADDRESS is not set"),
        (["api"], {"RANKLOOP_PUBLIC_URL": "rank.example.org"}, "RANKLOOP_PUBLIC_URL cannot be used"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    start: Start, arguments: list[str], settings: dict[str, str], words: str
) -> None:
    process = start(*arguments, **settings)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert words in said
    assert "Traceback" not in said


def test_a_child_that_dies_is_started_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A killed Ray head leaves two agents that would hold its ports."""
    note = tmp_path / "left"
    script = f"sleep 300 & echo $! > {note}; exec sleep 300"
    child = Child("head", ["sh", "-c", script], os.environ)
    said: list[str] = []
    child.start()
    try:
        left = psutil.Process(int(poll(lambda: note.exists() and note.read_text().strip(), "the grandchild")))
        first = child.process
        first.kill()
        first.wait()
        child.tend(said.append)
        assert said == ["The head ended with code -9; starting it again."]
        left.wait(120)  # by itself it would live for 300 s
        assert child.process.poll() is None
        assert child.process.pid != first.pid
    finally:
        child.stop()


def test_a_ray_node_starts_without_the_folders_of_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(ray_address=f"127.0.0.1:{free_port()}")
    folder = tmp_path / "ray"
    monkeypatch.setattr(parts, "_ray_folder", lambda part, settings: folder)
    old = folder / "session_2026-01-01_00-00-00_000000_1"
    old.mkdir(parents=True)
    (folder / "session_latest").symlink_to(old)
    parts.make_room(Part.RAY_HEAD, settings)
    assert list(folder.iterdir()) == []


def test_a_head_that_runs_keeps_its_folder_when_a_second_one_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_ray_folder", lambda part, settings: tmp_path)
    session = tmp_path / "session_2026-01-01_00-00-00_000000_1"
    session.mkdir()
    with socket.create_server(("", 0)) as head:
        parts.make_room(Part.RAY_HEAD, Settings(ray_address=f"127.0.0.1:{head.getsockname()[1]}"))
    assert session.exists()
