"""A job's events as they come: in order, resumable, over when the job is."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.events import SavedCheckpoint, StageProgress
from annotation_api.cli.streamed import StreamedEvent, parse_events
from annotation_api.db.engine import DatabaseUnavailable, session_factory
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Role
from annotation_api.http import metrics
from annotation_api.jobs.events import schemas, stream, watchers
from annotation_api.jobs.events.admission import LetIn
from annotation_api.jobs.events.watchers import EventPoller
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.engine_room import PATIENCE, poll
from tests.support.live import app_of, served

Job = tuple[uuid.UUID, int]


@pytest.fixture
def sessions(fresh_engine: Engine) -> sessionmaker[Session]:
    return session_factory(fresh_engine)


@pytest.fixture
def job(sessions: sessionmaker[Session], factory: Any) -> Job:
    """A running job: its id and epoch. It has 3 events: queued, starting, running."""
    with sessions.begin() as session:
        factory(session).job()
        claimed = job_store.claim(session, "host:1", 60)
        assert claimed is not None
        job_store.mark_running(session, claimed.id, claimed.epoch)
    return claimed.id, claimed.epoch


def report(sessions: sessionmaker[Session], job: Job, *events: Event) -> None:
    with sessions.begin() as session:
        job_store.append_events(session, *job, list(events))


def fail(sessions: sessionmaker[Session], job: Job) -> None:
    with sessions.begin() as session:
        job_store.fail(session, *job, Failure(ErrorKind.DIVERGED, "NaN."), Again.NEVER)


def collect(sessions: sessionmaker[Session], job: uuid.UUID, last: int = 0) -> list[StreamedEvent]:
    async def run() -> bytes:
        with EventPoller(lambda: sessions).watching(LetIn(uuid.uuid4()), job, last) as watcher:
            return b"".join([piece async for piece in stream.events(watcher)])

    return read(asyncio.run(asyncio.wait_for(run(), PATIENCE)))


def read(text: bytes) -> list[StreamedEvent]:
    return list(parse_events(iter(text.decode().split("\n"))))


def numbers(text: bytes) -> list[int | None]:
    return [event.id for event in read(text)]


def test_every_event_is_as_the_document_says(sessions: sessionmaker[Session], job: Job) -> None:
    """Read with the schemas of the OpenAPI document; whatever kind of event there is has one."""
    row = {"prompt": "Q?", "key": "k", "before": "a", "response": "b", "score_before": 0.1, "score": None, "kl": 0.2}
    sent = [
        Event.progress(StageProgress("train", 1, 2, 1.0, None, {"loss": float("nan")}), device="cpu"),
        Event.note("Look.", "warning"),
        Event.samples(1, [{"prompt": "Q?", "response": "b"}]),
        Event.evaluation(1, [row | {"task": str(uuid.uuid4())}]),
    ]
    report(sessions, job, *sent)
    with sessions.begin() as session:
        job_store.record_checkpoint(session, *job, SavedCheckpoint("1/step-1", 1, "0" * 64, 10, 0.5))
    fail(sessions, job)
    found = [
        schemas.JobEvent.model_validate({"event": one.type, "id": one.id, "data": one.data}).root
        for one in collect(sessions, job[0])
    ]
    kinds = {"state", "progress", "note", "samples", "look", "checkpoint", "end"}
    assert {one.event for one in found} == kinds
    assert all(not one.data.model_extra for one in found if one.event not in ("state", "samples"))


def test_events_come_in_order_and_end_with_the_job(sessions: sessionmaker[Session], job: Job) -> None:
    progress = Event.progress(StageProgress("train", 1, 2, 1.0, 1.0, {"loss": 0.5}))
    report(sessions, job, progress, Event.note("两行\nof text"))
    fail(sessions, job)
    events = collect(sessions, job[0])
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6, None]
    assert [event.type for event in events] == ["state", "state", "state", "progress", "note", "state", "end"]
    assert events[3].data["metrics"] == {"loss": 0.5}
    assert events[4].data["message"] == "两行\nof text"
    assert events[-1].data == {"state": "failed"}


def test_a_reader_goes_on_after_the_last_number_it_saw(sessions: sessionmaker[Session], job: Job) -> None:
    report(sessions, job, *(Event.note(str(i)) for i in range(watchers.BATCH * 2)))
    fail(sessions, job)
    events = collect(sessions, job[0], last=4)
    assert [event.id for event in events] == [*range(5, 3 + watchers.BATCH * 2 + 2), None]


class Theatre:
    """A hub with many watchers, each read by a task of its own; `heard[i]` is what watcher `i` got so far."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.found = 0
        self.poller = EventPoller(lambda: sessions)
        self.reported: list[list[bytes]] = []
        self._ask, self.poller.batch = self.poller.batch, self._counted  # type: ignore[method-assign]

    async def _counted(self, sent: Any) -> Any:
        self.found += 1
        return await self._ask(sent)

    def seat(self, tasks: asyncio.TaskGroup, job: uuid.UUID, last: int = 0) -> None:
        self.reported.append([])
        tasks.create_task(self._listen(self.reported[-1], job, last))

    async def _listen(self, reported: list[bytes], job: uuid.UUID, last: int) -> None:
        with self.poller.watching(LetIn(uuid.uuid4()), job, last) as watcher:
            async for piece in stream.events(watcher):
                reported.append(piece)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)


def test_everybody_hears_everything_once_however_late_they_come(sessions: sessionmaker[Session], job: Job) -> None:
    """While one job tells 30 events, 40 come at different times and with different last numbers."""
    theatre = Theatre(sessions)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(30):
                await asyncio.to_thread(report, sessions, job, Event.note(str(number)))
                for last in (0, 3) if number % 3 else (0, number):
                    theatre.seat(tasks, job[0], last)
                await asyncio.sleep(0.02)
            await asyncio.to_thread(fail, sessions, job)

    asyncio.run(run())
    assert theatre.poller.streams == 0
    assert metrics.REGISTRY.get_sample_value("rankloop_event_streams") == 0
    lasts = [last for number in range(30) for last in ((0, 3) if number % 3 else (0, number))]
    for last, reported in zip(lasts, theatre.reported, strict=True):
        assert numbers(b"".join(reported)) == [*range(last + 1, 35), None]


def test_one_question_serves_all_watchers_of_all_jobs(sessions: sessionmaker[Session], job: Job, factory: Any) -> None:
    with sessions.begin() as session:
        other = factory(session).job().id
    theatre = Theatre(sessions)

    async def run() -> int:
        async with asyncio.TaskGroup() as tasks:
            for seat in range(50):
                theatre.seat(tasks, (job[0], other)[seat % 2])
            await theatre.until(lambda: all(theatre.reported))
            await asyncio.to_thread(report, sessions, job, Event.note("news"))
            before = theatre.found
            await theatre.until(lambda: all(len(reported) > 1 for reported in theatre.reported[::2]))
            found = theatre.found - before
            await asyncio.to_thread(fail, sessions, job)
            with sessions.begin() as session:
                job_requests.request_cancel(session, other)
        return found

    assert asyncio.run(run()) <= 3


def test_nobody_asks_when_nobody_watches(sessions: sessionmaker[Session], job: Job, fresh_engine: Engine) -> None:
    theatre = Theatre(sessions)

    async def run() -> tuple[int, int]:
        with theatre.poller.watching(LetIn(uuid.uuid4()), job[0], 0) as watcher:
            assert metrics.REGISTRY.get_sample_value("rankloop_event_streams") == 1
            await watcher.next(PATIENCE)
            # Between two looks no connection is held.
            await theatre.until(lambda: fresh_engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        before = theatre.found
        await asyncio.sleep(2 * watchers.POLL_SECONDS)
        return theatre.found - before, theatre.poller.streams

    assert asyncio.run(run()) == (0, 0)


def test_a_slow_watcher_holds_little_and_misses_nothing(
    sessions: sessionmaker[Session], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing while far more chunks come than it may keep; then it reads on from the database."""
    monkeypatch.setattr(watchers, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(watchers, "MOST_CHUNKS", 3)
    theatre = Theatre(sessions)

    async def run() -> tuple[list[int | None], int]:
        with (
            theatre.poller.watching(LetIn(uuid.uuid4()), job[0], 0) as slow,
            theatre.poller.watching(LetIn(uuid.uuid4()), job[0], 0) as fast,
        ):
            seen = [await slow.next(PATIENCE) or b""]
            most = 0
            await fast.next(PATIENCE)
            for number in range(12):
                await asyncio.to_thread(report, sessions, job, Event.note(str(number)))
                await fast.next(PATIENCE)
                most = max(most, len(slow.chunks))
            await asyncio.to_thread(fail, sessions, job)
            while (body := await slow.next(PATIENCE)) is not None:
                seen.append(body)
        return numbers(b"".join(seen)), most

    seen, most = asyncio.run(run())
    assert seen == list(range(1, 17))
    assert most <= 3


def test_a_retried_job_begins_anew_for_those_who_come_later(sessions: sessionmaker[Session], job: Job) -> None:
    """Somebody slow still sits in the first showing; who comes after the retry does not hear its end."""
    theatre = Theatre(sessions)

    async def run() -> tuple[bytes | None, bytes | None]:
        person = uuid.uuid4()
        with theatre.poller.watching(LetIn(person), job[0], 3) as slow:
            await asyncio.to_thread(fail, sessions, job)
            first = await slow.next(PATIENCE)
            with sessions.begin() as session:
                job_requests.retry(session, job[0])
            with theatre.poller.watching(LetIn(person), job[0], 4) as late:
                assert late.channel is not slow.channel
                again = await late.next(PATIENCE)
                assert await late.next(0.01) == b""
            assert await slow.next(PATIENCE) is None
        return first, again

    first, again = asyncio.run(run())
    assert (numbers(first or b""), numbers(again or b"")) == ([4], [5])


def test_streams_stay_open_while_the_database_is_away(
    sessions: sessionmaker[Session], job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "PING_SECONDS", 0.05)
    theatre = Theatre(sessions)
    away = False

    def factory() -> sessionmaker[Session]:
        if away:
            raise DatabaseUnavailable("Postgres is away.")
        return sessions

    theatre.poller._sessions = factory

    async def run() -> None:
        nonlocal away
        async with asyncio.TaskGroup() as tasks:
            theatre.seat(tasks, job[0])
            await theatre.until(lambda: theatre.reported[0])
            away = True
            await theatre.until(lambda: "Postgres is away" in caplog.text)
            await asyncio.to_thread(report, sessions, job, Event.note("meanwhile"))
            quiet = len(theatre.reported[0])
            await theatre.until(lambda: len(theatre.reported[0]) > quiet + 2)
            away = False
            await asyncio.to_thread(fail, sessions, job)

    asyncio.run(run())
    text = b"".join(theatre.reported[0])
    assert numbers(text) == [1, 2, 3, 4, 5, None]
    assert text.count(stream.PING) > 2
    assert caplog.text.count("Postgres is away") == 1


def test_a_stream_is_cut_after_its_time_and_can_be_taken_up(
    sessions: sessionmaker[Session], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may watch is asked again; the job's end is not told."""
    monkeypatch.setattr(stream, "LONGEST_SECONDS", 0.0)
    assert collect(sessions, job[0]) == []


def test_comments_are_skipped_by_the_reader() -> None:
    text = ': ping\n\nid: 4\nevent: note\ndata: {"a": 1}\n\n'
    assert list(parse_events(iter(text.split("\n")))) == [StreamedEvent(4, "note", json.loads('{"a": 1}'))]


# ---------------------------------------------------------------- over HTTP


@pytest.fixture
def live(fresh_database: str, fresh_engine: Engine) -> Iterator[tuple[str, EventPoller]]:
    app = app_of(Settings(database_url=fresh_database), fresh_engine)
    with served(app) as url:
        yield url, app.state.streams


@pytest.fixture
def reader(sessions: sessionmaker[Session], factory: Any) -> Callable[[], dict[str, str]]:
    """The headers of a person of their own."""

    def make() -> dict[str, str]:
        with sessions.begin() as session:
            key = people.add_api_key(session, factory(session).person(Role.REVIEWER), NewApiKey(name="watch"))[1]
        return {"Authorization": f"Bearer {key}"}

    return make


def test_who_has_too_many_streams_is_told_so_and_others_are_not(
    live: tuple[str, EventPoller], job: Job, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "STREAMS_OF_A_PERSON", 2)
    monkeypatch.setattr(watchers, "STREAMS", 3)
    place, mine, theirs = f"{live[0]}/v1/jobs/{job[0]}/events", reader(), reader()
    with ExitStack() as open_ones:
        for headers in (mine, mine, theirs):
            assert open_ones.enter_context(httpx.stream("GET", place, headers=headers)).status_code == 200
        refused = httpx.get(place, headers=mine)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:rankloop:too-many-streams")
        assert int(refused.headers["retry-after"]) > 0
        full = httpx.get(place, headers=theirs)
        assert (full.status_code, full.json()["type"]) == (503, "urn:rankloop:streams-full")
    poll(lambda: live[1].streams == 0, "the places to be free")
    with httpx.stream("GET", place, headers=mine) as again:
        assert again.status_code == 200


def test_a_client_that_is_gone_leaves_nothing_behind(live: tuple[str, EventPoller], job: Job, reader: Any) -> None:
    headers = reader()
    for last in range(20):
        with httpx.stream("GET", f"{live[0]}/v1/jobs/{job[0]}/events", headers=headers, params={"after": last}) as it:
            assert it.status_code == 200
    poll(lambda: (live[1].streams, len(live[1]._channels), live[1]._poller) == (0, 0, None), "the hub to be empty")


def test_a_client_that_takes_nothing_is_cut_off(
    live: tuple[str, EventPoller],
    sessions: sessionmaker[Session],
    job: Job,
    reader: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks and never reads: what the job tells fills the socket, and after a while the place is free again."""
    monkeypatch.setattr(stream, "SLOW_SECONDS", 0.3)
    host, port = live[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = "".join(f"{name}: {value}\r\n" for name, value in reader().items())
        line.sendall(f"GET /v1/jobs/{job[0]}/events HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode())
        poll(lambda: live[1].streams == 1, "the stream")
        long = "x" * 100_000
        for _ in range(10):
            report(sessions, job, *(Event.note(long) for _ in range(10)))
        poll(lambda: live[1].streams == 0, "the places to be free")


def test_the_header_goes_before_the_query(live: tuple[str, EventPoller], sessions: Any, job: Job, reader: Any) -> None:
    fail(sessions, job)
    place, headers = f"{live[0]}/v1/jobs/{job[0]}/events", reader()
    assert numbers(httpx.get(place, headers=headers).content) == [1, 2, 3, 4, None]
    assert numbers(httpx.get(place, headers=headers, params={"after": 2}).content) == [3, 4, None]
    both = httpx.get(place, headers=headers | {"Last-Event-ID": "3"}, params={"after": 1})
    assert numbers(both.content) == [4, None]
    for bad in ("-1", "x", str(2**31)):
        assert httpx.get(place, headers=headers | {"Last-Event-ID": bad}).status_code == 422
