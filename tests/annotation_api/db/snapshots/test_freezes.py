"""Large freezes go on behind the answer; what has not changed is not read again."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.records import Prompt, Ranking
from annotation_api.cli.client import Client, ClientError, Credentials
from annotation_api.cli.commands import data
from annotation_api.db.engine import session_factory
from annotation_api.db.kinds import Adjudicated
from annotation_api.db.snapshots import freeze, freezes, judged_rows
from annotation_api.db.snapshots.votes import USUAL, VoteChoice
from annotation_api.db.tables import (
    DatasetKind,
    Freeze,
    FreezeState,
    PersonStanding,
    Role,
    Snapshot,
    Submission,
    Task,
    TaskDecision,
)
from tests.support.databases import is_waited
from tests.support.engine_room import poll
from tests.support.factory import Factory
from workers.dispatch.freezing import Freezer


@pytest.fixture
def judged(session: Session, make: Any) -> Any:
    """Five tasks of a project, judged once each."""
    project = make.project()
    for n in range(5):
        make.submission(make.task(make.prompt(project, f"{n}?")), [[0], [1]])
    return project


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows are many."""
    monkeypatch.setattr(freezes, "LARGE", 3)


def body(project: Any) -> dict[str, str]:
    return {"kind": "rankings", "project": str(project.id)}


def test_a_small_freeze_is_answered_as_ever(as_: Any, judged: Any) -> None:
    answer = as_(Role.ENGINEER).post("/v1/snapshots", json=body(judged))
    assert (answer.status_code, answer.json()["rows"]) == (201, 5)
    assert answer.headers["location"] == f"/v1/snapshots/{answer.json()['id']}"


@pytest.mark.usefixtures("few")
def test_a_large_one_is_told_as_it_goes(as_: Any, session: Session, judged: Any) -> None:
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/snapshots", json=body(judged) | {"name": "the fifth", "tags": ["five"]})
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert place == f"/v1/freezes/{answer.json()['id']}"
    waiting = client.get(place).json()
    assert (waiting["state"], waiting["done"], waiting["total"], waiting["snapshot"]) == ("queued", 0, 5, None)
    assert client.post("/v1/snapshots", json=body(judged)).headers["location"] == place  # asked twice, done once
    assert freezes.work_off(here(session)) == 1
    ended = client.get(place).json()
    assert (ended["state"], ended["done"], ended["error"]) == ("succeeded", 5, None)
    frozen = client.get(f"/v1/snapshots/{ended['snapshot']}").json()
    assert (frozen["rows"], frozen["name"], frozen["tags"]) == (5, "the fifth", ["five"])
    again = client.post("/v1/snapshots", json=body(judged))
    assert (again.status_code, again.json()["id"]) == (201, ended["snapshot"])  # unchanged: there at once


def here(session: Session) -> Any:
    """Sessions within the test's transaction."""
    return sessionmaker(bind=session.connection(), join_transaction_mode="create_savepoint", expire_on_commit=False)


@pytest.mark.usefixtures("few")
def test_what_cannot_be_frozen_is_refused_at_once(as_: Any, make: Any, judged: Any) -> None:
    client, records = as_(Role.ENGINEER), [ranking(n) for n in range(5)]
    dataset = make.dataset(DatasetKind.RANKINGS, records)
    refused = client.post("/v1/snapshots", json={"kind": "demonstrations", "dataset": str(dataset.id)})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/dataset")
    assert client.post("/v1/snapshots", json=body(judged) | {"kind": "verdicts"}).status_code == 422
    assert client.post("/v1/snapshots", json={"kind": "rankings", "dataset": str(dataset.id)}).status_code == 202


def ranking(number: int) -> Ranking:
    return Ranking(prompt=Prompt.from_text(f"{number}?"), responses=("a", "b"), groups=((0,), (1,)))


@pytest.mark.usefixtures("few")
def test_one_that_fails_says_why(as_: Any, session: Session, make: Any, judged: Any) -> None:
    client = as_(Role.ENGINEER)
    place = client.post("/v1/snapshots", json=body(judged)).headers["location"]
    task = make.task(make.prompt(judged, "more?"))
    broken = make.submission(task, [[0], [1]], payload={"groups": [[str(uuid.uuid4())]]})
    freezes.work_off(here(session))
    ended = client.get(place).json()
    assert (ended["state"], ended["snapshot"]) == ("failed", None)
    assert str(broken.id) in ended["error"]
    assert session.scalar(select(func.count()).select_from(Snapshot)) == 0


@pytest.mark.usefixtures("few")
def test_a_freeze_of_a_hidden_project_is_not_there(as_: Any, session: Session, make: Any) -> None:
    project = make.project(open=False)
    row = freezes.ask(session, DatasetKind.RANKINGS, freezes.source_of(None, project.id, USUAL), project.created_by)
    assert as_(Role.ENGINEER).get(f"/v1/freezes/{row.id}").status_code == 404
    assert as_(Role.ADMIN).get(f"/v1/freezes/{row.id}").status_code == 200


def test_a_dropped_one_is_taken_up_anew(session: Session, judged: Any) -> None:
    freezes.ask(session, DatasetKind.RANKINGS, freezes.source_of(None, judged.id, USUAL), judged.created_by)
    first = freezes.WAITING.claim(session)
    assert first is not None
    assert freezes.WAITING.claim(session) is None
    assert not freezes.WAITING.some_wait(session)
    session.execute(update(Freeze).values(lease_until=text("clock_timestamp() - interval '1 s'")))
    assert freezes.WAITING.some_wait(session)
    assert freezes.work_off(here(session)) == 1
    session.refresh(first)
    assert first.state is FreezeState.SUCCEEDED


def test_what_did_not_change_is_not_read(session: Session, make: Any, judged: Any, monkeypatch: Any) -> None:
    first = freeze.freeze_project(session, judged.id, judged.created_by)
    read: list[object] = []
    monkeypatch.setitem(
        freeze.PROJECT_SOURCES,
        DatasetKind.RANKINGS,
        (lambda *asked: read.append(asked) or judged_rows.rankings(*asked), "rankings"),
    )
    assert freeze.freeze_project(session, judged.id, judged.created_by).id == first.id
    assert read == []
    make.submission(make.task(make.prompt(judged, "new?")), [[1], [0]])
    second = freeze.freeze_project(session, judged.id, judged.created_by)
    assert (second.rows, len(read)) == (6, 1)


def test_an_older_judgement_that_is_seen_later_is_read(session: Session, make: Any, judged: Any) -> None:
    """Numbers are given before a transaction ends: the newest alone would not tell."""
    first = freeze.freeze_project(session, judged.id, judged.created_by)
    late = make.submission(make.task(make.prompt(judged, "late?")), [[0], [1]])
    assert first.seen is not None
    first.seen = first.seen | {"newest": late.seq}
    session.flush()
    assert freeze.freeze_project(session, judged.id, judged.created_by).rows == 6


def test_the_page_goes_on_to_the_snapshot(browser_of: Any, session: Session, judged: Any, few: None) -> None:
    browser = browser_of(Role.ENGINEER)
    answer = browser.post("/snapshots", data={"source": f"project:{judged.id}", "kind": "rankings"})
    place = answer.headers["location"]
    assert place.startswith("/freezes/")
    page = browser.get(place).text
    assert 'src="/static/freeze.js"' in page
    assert "Rows written: 0 of about 5." in page
    freezes.work_off(here(session))
    assert browser.get(place).headers["location"].startswith("/snapshots/")


def test_the_command_waits_for_it(as_: Any, session: Session, judged: Any, few: None, monkeypatch: Any) -> None:
    client = Client(Credentials("http://localhost", "key"))
    client.http = as_(Role.ENGINEER)
    monkeypatch.setattr(data.time, "sleep", lambda _seconds: freezes.work_off(here(session)))
    assert data._freeze(client, body(judged), quiet=False)["rows"] == 5
    monkeypatch.setattr(client, "get", lambda path: {"state": "failed", "error": "It cannot."})
    monkeypatch.setattr(client, "post", lambda path, sent: {"state": "queued", "done": 0, "total": 9, "id": "x"})
    with pytest.raises(ClientError, match="It cannot"):
        data._freeze(client, body(judged), quiet=True)


def test_the_dispatcher_starts_one_process_for_all(fresh_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, on rows that are there to stay."""
    sessions = session_factory(fresh_engine)
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_engine.url.render_as_string(hide_password=False))
    with sessions.begin() as session:
        make = Factory(session)
        project = make.project()
        make.submission(make.task(make.prompt(project)), [[0], [1]])
        asked = freezes.ask(
            session, DatasetKind.RANKINGS, freezes.source_of(None, project.id, USUAL), project.created_by
        ).id
    freezer = Freezer(sessions)
    freezer.tend()
    child = freezer._child
    assert child is not None
    freezer.tend()
    assert freezer._child is child
    assert child.wait(120) == 0
    with sessions.begin() as session:
        assert session.get_one(Freeze, asked).state is FreezeState.SUCCEEDED
    freezer.tend()
    assert freezer._child is None


def test_a_process_that_hangs_is_ended(fresh_engine: Engine) -> None:
    freezer = Freezer(session_factory(fresh_engine), (sys.executable, "-c", "import time; time.sleep(600)"))
    freezer._child = subprocess.Popen(freezer._command)
    begin = time.monotonic()
    freezer.stop()
    assert freezer._child.poll() is not None
    assert time.monotonic() - begin < 60


def test_a_decision_a_pause_and_a_choice_are_changes(session: Session, make: Any, judged: Any) -> None:
    first = freeze.freeze_project(session, judged.id, judged.created_by)
    task = session.scalars(select(Task).where(Task.project_id == judged.id)).first()
    assert task is not None
    ids = [str(key) for key in make.response_ids(task)]
    decided = TaskDecision(
        task_id=task.id, reviewer_id=judged.created_by, kind="ranking", payload={"groups": [ids]}, payload_hash="0" * 64
    )
    session.add(decided)
    session.flush()
    second = freeze.freeze_project(session, judged.id, judged.created_by)
    assert second.id != first.id
    ignored = freeze.freeze_project(
        session, judged.id, judged.created_by, choice=VoteChoice(adjudicated=Adjudicated.IGNORE)
    )
    assert ignored.sha256 == first.sha256
    author = session.scalars(select(Submission.person_id).where(Submission.project_id == judged.id)).first()
    session.add(PersonStanding(project_id=judged.id, person_id=author, paused_at=func.now()))
    session.flush()
    assert freeze.freeze_project(session, judged.id, judged.created_by).id != second.id


@pytest.mark.parametrize("source", ["project", "data set"])
def test_two_who_freeze_the_same_at_once_get_one_snapshot(fresh_engine: Engine, factory: Any, source: str) -> None:
    sessions = session_factory(fresh_engine)
    with sessions.begin() as session:
        make = factory(session)
        project, dataset = make.project(), make.dataset(DatasetKind.RANKINGS, [ranking(1)])
        make.submission(make.task(make.prompt(project)), [[0], [1]])

    def frozen(session: Session) -> uuid.UUID:
        if source == "project":
            return freeze.freeze_project(session, project.id, project.created_by).id
        return freeze.freeze_dataset(session, dataset.id, DatasetKind.RANKINGS, project.created_by).id

    def second() -> uuid.UUID:
        with sessions.begin() as session:
            return frozen(session)

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            first = frozen(session)
            other = pool.submit(second)
            poll(lambda: other.done() or is_waited(fresh_engine), "the second to wait for the first")
        assert other.result() == first
