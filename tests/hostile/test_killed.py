"""An API that is killed in the middle of all that it does: what was not acknowledged is not there, nor a half of it."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine
from annotation_api.db.tables import ApiKey, Role
from annotation_api.http import auth
from tests.hostile.server import Server, Visitor, status_of
from tests.journey.desk import ranking_of
from tests.support.databases import new_database
from tests.support.engine_room import poll
from tests.support.factory import Factory

MULTIPART = "multipart/form-data; boundary=b"
FILE = {"file": ("a.csv", b"prompt,chosen,rejected\r\nQ?,a,b\r\n")}
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nprompt,chosen,rejected\r\n'
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def url(postgres_url: str, template: str) -> Iterator[str]:
    with new_database(postgres_url, template) as url:
        yield url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    yield engine
    engine.dispose()


def cast(engine: Engine, port: int) -> tuple[Visitor, Visitor, uuid.UUID, uuid.UUID]:
    """An annotator, an engineer, a project with a task, a job."""
    with Session(engine) as session:
        make, made = Factory(session), []
        for role in (Role.ANNOTATOR, Role.ENGINEER):
            person = make.person(role)
            key, prefix = auth.new_api_key()
            session.add(ApiKey(person_id=person.id, name="k", prefix=prefix, key_hash=auth.hash_token(key)))
            made.append(Visitor(port, person.id, key, auth.start_session(session, person)))
        project, job = make.project(), make.job()
        make.task(make.prompt(project))
        session.commit()
        return *made, project.id, job.id


def test_killed_in_the_middle_of_everything_it_comes_back_whole(url: str, engine: Engine, tmp_path: Path) -> None:
    server = Server(url, tmp_path)
    with server:
        annotator, engineer, project, job = cast(engine, server.port)
        half = engineer.begin("/v1/datasets", 2**20, MULTIPART, "Expect: 100-continue")  # an upload
        assert status_of(half) == 100
        half.sendall(PART)
        slow = annotator.begin("/v1/submissions", 1000, "application/json")  # a body
        with engineer.client(60) as one, annotator.client(60) as other, locked(engine):
            ends = [
                told(lambda: one.post("/v1/datasets", data={"kind": "preferences"}, files=FILE)),  # an import
                told(lambda: other.post(f"/v1/projects/{project}/next")),  # a claim
                told(lambda: one.get(f"/v1/jobs/{job}/events")),  # a stream
            ]
            poll(lambda: count(engine, WAITING) >= 2, "import and claim to be at work", server.log)
            server.process.kill()
            server.process.wait()
            assert [end() for end in ends] == ["no answer"] * 3
            assert [ended(line) for line in (half, slow)] == [True, True]
    engine.dispose()
    assert list(server.uploads.iterdir()) == []
    with server, engineer.client() as one, annotator.client() as other:
        assert one.get("/v1/datasets").json()["items"] == []
        assert one.post("/v1/datasets", data={"kind": "preferences"}, files=FILE).status_code == 201
        task = other.post(f"/v1/projects/{project}/next")
        assert task.status_code == 200
        headers = {"Content-Type": "application/json"}
        assert other.post("/v1/submissions", content=ranking_of(task.json()), headers=headers).status_code == 201
        assert other.post(f"/v1/projects/{project}/next").status_code == 204
        assert one.get(f"/v1/jobs/{job}").json()["state"] == "queued"


class locked:
    """Nobody claims a task or stores a data set meanwhile: they wait in the middle of their transactions."""

    def __init__(self, engine: Engine) -> None:
        self.session = Session(engine)

    def __enter__(self) -> None:
        self.session.execute(text("LOCK TABLE datasets, assignments IN ACCESS EXCLUSIVE MODE"))

    def __exit__(self, *_: object) -> None:
        self.session.close()


def count(engine: Engine, statement: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(statement)).scalar_one())


def told(call: Callable[[], httpx.Response]) -> Callable[[], str]:
    """The call, begun in a thread; how it ended."""
    answers: list[str] = []

    def run() -> None:
        try:
            answers.append(str(call().status_code))
        except httpx.TransportError:
            answers.append("no answer")

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> str:
        thread.join(30)
        return answers[0]

    return end


def ended(line: socket.socket) -> bool:
    """Whether the other side closed it, or died. Raises TimeoutError where it stays open."""
    try:
        while line.recv(65536):
            continue
    except ConnectionResetError:  # died with bytes unread
        return True
    return True
