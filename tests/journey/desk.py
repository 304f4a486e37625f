"""A desk to measure and to torment: a filled database, an API process as `rankloop up` starts it, lean clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.tasks.schemas import NewProject, NewResponse, NewTask
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import ApiKey, Person, Role
from annotation_api.http import auth
from annotation_api.processes.parts import api_command
from annotation_api.settings import Settings

HOST = "127.0.0.1"
START_SECONDS = 600.0  # on a machine that does much else
SENTENCE = "The tide turns twice a day because the moon pulls at the sea. "
PER_REQUEST = 1000  # tasks that are added at once


class Desk:
    """`with Desk(tasks=100, k=4, overlap=3, people=50, lease_seconds=300) as desk`: filled, and the API is up."""

    def __init__(self, *, tasks: int, people: int, k: int = 4, overlap: int = 3, lease_seconds: int = 300) -> None:
        self.tasks, self.people, self.k, self.overlap, self.lease_seconds = tasks, people, k, overlap, lease_seconds
        self.keys: list[str] = []
        self.project = ""
        self._undo = ExitStack()

    def __enter__(self) -> Desk:
        with self._undo:
            home = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="rankloop-desk-")))
            home.chmod(0o755)  # the server may run under another account
            self.postgres = self._undo.enter_context(EmbeddedPostgres(home))
            upgrade(self.postgres.url)
            self._fill()
            self.home, self.port = home, free_port()
            self.start_api()
            self._undo.callback(lambda: self.kill_api(signal.SIGTERM))
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def start_api(self) -> None:
        settings = Settings(database_url=self.postgres.url, home=self.home)
        with (self.home / "api.log").open("ab") as log:
            self.api = subprocess.Popen(
                api_command(HOST, self.port), env=settings.to_environment(os.environ), stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self.api.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the API did not start:\n{(self.home / 'api.log').read_text()}")
            time.sleep(0.05)

    def kill_api(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.api.send_signal(how)
        self.api.wait()

    def log(self) -> str:
        """What the API wrote: warnings and worse."""
        return (self.home / "api.log").read_text()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/readyz", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _fill(self) -> None:
        """A project with its tasks, and people with a key each."""
        engine = make_engine(self.postgres.url)
        with Session(engine) as session:
            boss = self._person(session, Role.ADMIN, 0)
            new = NewProject(name="desk", overlap=self.overlap, lease_seconds=self.lease_seconds)
            project = projects.create_project(session, boss, new)
            for start in range(0, self.tasks, PER_REQUEST):
                numbers = range(start, min(start + PER_REQUEST, self.tasks))
                projects.add_tasks(session, project, [self._task(number) for number in numbers])
            self.keys = [self._key(session, number) for number in range(1, self.people + 1)]
            self.project = str(project.id)
            session.commit()
        engine.dispose()

    def _task(self, number: int) -> NewTask:
        prompt = {"messages": [{"role": "user", "content": f"Question {number}: why do tides turn? " + SENTENCE * 2}]}
        texts = [f"Answer {number}-{place}. " + SENTENCE * 9 for place in range(self.k)]
        return NewTask(prompt=prompt, responses=[NewResponse(text=text) for text in texts])

    def _person(self, session: Session, role: Role, number: int) -> Person:
        tag = f"{role.value}-{number}"
        person = Person(
            email=f"{tag}@example.org", name=tag, role=role, password_hash=auth.NO_PASSWORD, pseudonym=f"p-{number}"
        )
        session.add(person)
        session.flush()
        return person

    def _key(self, session: Session, number: int) -> str:
        key, prefix = auth.new_api_key()
        person = self._person(session, Role.ANNOTATOR, number)
        session.add(ApiKey(person_id=person.id, name="desk", prefix=prefix, key_hash=auth.hash_token(key)))
        return key


class Wire:
    """One kept connection of one person. Raises OSError or EOFError when the server is gone."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.head = f"Host: {HOST}:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self.streams is None or self.streams[0].at_eof():  # the server closes connections that rest for long
            self.streams = await asyncio.open_connection(HOST, self.port)
        reader, writer = self.streams
        writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        _, found, rest = head.partition(b"content-length: ")
        length = int(rest[: rest.index(b"\r\n")]) if found else 0
        return status, await reader.readexactly(length) if length else b""

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def ranking_of(task: dict[str, Any], submission: str | None = None) -> bytes:
    """A ranking in the order shown, as the body of a submission."""
    body = {
        "id": submission or str(uuid.uuid4()),
        "assignment": task["assignment"],
        "kind": "ranking",
        "payload": {"groups": [[response["id"]] for response in task["responses"]]},
        "active_ms": 9000,
    }
    return json.dumps(body).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
