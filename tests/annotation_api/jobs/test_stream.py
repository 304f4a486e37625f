"""A job's events as they come: in order, resumable, over when the job is."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from alignment.events import ErrorKind, Progress
from annotation_api.client import JobEvent, parse_events
from annotation_api.db import job_store
from annotation_api.db.engine import session_factory
from annotation_api.db.job_events import Event
from annotation_api.db.job_records import Again, Failure
from annotation_api.jobs import stream


@pytest.fixture
def sessions(fresh_engine: Engine) -> sessionmaker[Session]:
    return session_factory(fresh_engine)


@pytest.fixture
def job(sessions: sessionmaker[Session], factory: Any) -> tuple[uuid.UUID, int]:
    """A running job: its id and epoch. It has 3 events: queued, starting, running."""
    with sessions.begin() as session:
        factory(session).job()
        claimed = job_store.claim(session, "host:1", 60)
        assert claimed is not None
        job_store.mark_running(session, claimed.id, claimed.epoch)
    return claimed.id, claimed.epoch


def report(sessions: sessionmaker[Session], job: tuple[uuid.UUID, int], *events: Event) -> None:
    with sessions.begin() as session:
        job_store.append_events(session, *job, list(events))


def fail(sessions: sessionmaker[Session], job: tuple[uuid.UUID, int]) -> None:
    with sessions.begin() as session:
        job_store.fail(session, *job, Failure(ErrorKind.DIVERGED, "NaN."), Again.NEVER)


def collect(sessions: sessionmaker[Session], job: uuid.UUID, last: int = 0) -> list[JobEvent]:
    async def run() -> bytes:
        return b"".join([piece async for piece in stream.events(sessions, job, last)])

    text = asyncio.run(asyncio.wait_for(run(), 20)).decode()
    return list(parse_events(iter(text.split("\n"))))


def test_events_come_in_order_and_end_with_the_job(sessions: sessionmaker[Session], job: tuple[uuid.UUID, int]) -> None:
    progress = Event.progress(Progress("train", 1, 2, 1.0, 1.0, {"loss": 0.5}))
    report(sessions, job, progress, Event.note("两行\nof text"))
    fail(sessions, job)
    events = collect(sessions, job[0])
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6, None]
    assert [event.type for event in events] == ["state", "state", "state", "progress", "note", "state", "end"]
    assert events[3].data["metrics"] == {"loss": 0.5}
    assert events[4].data["message"] == "两行\nof text"
    assert events[-1].data == {"state": "failed"}


def test_a_reader_goes_on_after_the_last_number_it_saw(
    sessions: sessionmaker[Session], job: tuple[uuid.UUID, int]
) -> None:
    report(sessions, job, *(Event.note(str(i)) for i in range(stream.BATCH * 2)))
    fail(sessions, job)
    events = collect(sessions, job[0], last=4)
    assert [event.id for event in events[:-1]] == list(range(5, 3 + stream.BATCH * 2 + 2))


def test_events_arrive_while_the_job_runs(sessions: sessionmaker[Session], job: tuple[uuid.UUID, int]) -> None:
    def later() -> None:
        time.sleep(0.7)
        report(sessions, job, Event.note("late"))
        fail(sessions, job)

    thread = threading.Thread(target=later)
    thread.start()
    messages = [event.data.get("message") for event in collect(sessions, job[0])]
    thread.join()
    assert "late" in messages


def test_no_connection_is_held_while_waiting(
    sessions: sessionmaker[Session], fresh_engine: Engine, job: tuple[uuid.UUID, int]
) -> None:
    async def run() -> int:
        events = stream.events(sessions, job[0], 0)
        for _ in range(3):
            await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(stream.POLL_SECONDS / 2)  # between two looks
        held: int = fresh_engine.pool.checkedout()  # type: ignore[attr-defined]
        waiting.cancel()
        return held

    assert asyncio.run(run()) == 0


def test_a_quiet_job_is_kept_alive_by_comments(
    sessions: sessionmaker[Session], job: tuple[uuid.UUID, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PING_SECONDS", 0.0)

    async def run() -> bytes:
        events = stream.events(sessions, job[0], 3)
        return await asyncio.wait_for(anext(events), 10)

    assert asyncio.run(run()).startswith(b":")


def test_comments_are_skipped_by_the_reader() -> None:
    text = ': ping\n\nid: 4\nevent: note\ndata: {"a": 1}\n\n'
    assert list(parse_events(iter(text.split("\n")))) == [JobEvent(4, "note", json.loads('{"a": 1}'))]
