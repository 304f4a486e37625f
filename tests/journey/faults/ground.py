"""What the rows of the fault matrix stand on: one Postgres; for each row a database and a home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import DatasetKind, JobState, Role
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.processes.parts import api_command
from annotation_api.settings import Settings
from tests.journey.desk import HOST, free_port
from tests.support.databases import new_database
from tests.support.engine_room import World, poll
from tests.support.factory import Factory

SLOW = {"steps": 600, "seconds": 0.1, "save_every": 5}  # a minute: time enough for something to go wrong


@dataclass(frozen=True)
class Seen:
    """One line of the table; `kind` is what the job, the attempt or the answer names."""

    done: str
    seen: str
    kind: str = "none: nothing was lost"


class NotHere(Exception):
    """This machine cannot make the fault; the message says what it lacks."""


@dataclass(frozen=True)
class Ground:
    folder: Path
    server: EmbeddedPostgres
    number: int  # of the row

    @contextmanager
    def world(self, **environment: str) -> Iterator[World]:
        """An empty database, and a home; whatever runs in it is ended at the end."""
        home = self.folder / f"home-{self.number}"
        home.mkdir()
        with new_database(self.server.url) as url:
            upgrade(url)
            engine = make_engine(url)
            world = World(url, engine, home, Factory, {"RANKLOOP_EXECUTOR": "process"} | environment)
            try:
                yield world
            finally:
                world.end()
                engine.dispose()

    @contextmanager
    def api(self, world: World) -> Iterator[Api]:
        """The API as `rankloop up` starts it, on the world's database."""
        api = Api(world)
        api.start()
        try:
            yield api
        finally:
            api.kill(signal.SIGTERM)

    def kill_postgres(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.running:
            time.sleep(0.01)


class Api:
    """A process, the key of an engineer, and the body of a job that it takes."""

    def __init__(self, world: World) -> None:
        self.world, self.port = world, free_port()
        model = world.home / "models" / "base"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        with Session(world.engine) as session:
            make = Factory(session)
            engineer = make.person(Role.ENGINEER)
            self.key = people.add_api_key(session, engineer, NewApiKey(name="faults"))[1]
            rows = [Demonstration(prompt=Prompt.from_text(f"{n}?"), response="a") for n in range(100)]
            base, data = make.model(path=str(model)), make.dataset(DatasetKind.DEMONSTRATIONS, rows, engineer)
            inputs = {"model": {"model": str(base.id)}, "demonstrations": {"dataset": str(data.id)}}
            session.commit()
        self.body = {"stage": "sft", "inputs": inputs, "gpus": 0}

    def start(self, *command: str, **environment: str) -> None:
        """`command`: in place of the API's own."""
        settings = Settings(database_url=self.world.url, home=self.world.home)
        with (self.world.home / "api.log").open("ab") as log:
            given = settings.to_environment(os.environ) | environment
            self.process = subprocess.Popen(
                [*(command or api_command(HOST, self.port))], env=given, stdout=log, stderr=log
            )
        poll(self._answers, "the API to answer", (self.world.home / "api.log").read_text)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait()

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"http://{HOST}:{self.port}", headers=headers, timeout=30)

    def create(self, http: httpx.Client, key: str) -> httpx.Response:
        return http.post("/v1/jobs", json=self.body, headers={"Idempotency-Key": key})

    def _answers(self) -> bool:
        try:
            with self.client() as http:
                return http.get("/healthz").is_success
        except httpx.TransportError:  # not listening yet
            return False


def succeeded(world: World, *jobs: Any) -> str:
    """Every job has succeeded, with one artifact each, and no two attempts at one overlapped; in words."""
    for job_id in jobs:
        row = world.wait(job_id)
        assert row.state is JobState.SUCCEEDED, f"{row.state}: {row.error}\n{world.report()}"
        assert len(world.versions(job_id)) == 1, "not exactly one artifact"
        attempts = world.attempts(job_id)
        for before, after in pairwise(attempts):
            assert before.ended_at is not None
            assert before.ended_at <= after.claimed_at, "two attempts overlapped"
    count = sum(len(world.attempts(job_id)) for job_id in jobs)
    return f"{len(jobs)} succeeded in {count} attempts, one artifact each" if len(jobs) > 1 else f"attempt {count}"


def errors(world: World, job_id: Any) -> str:
    """The kinds with which its attempts ended, in order."""
    return ", ".join(attempt.error["kind"] for attempt in world.attempts(job_id) if attempt.error) or "none"


def seconds(question: Callable[[], Any], what: str) -> str:
    """How long until the answer was true."""
    began = time.monotonic()
    poll(question, what)
    return f"{time.monotonic() - began:.1f} s"
