"""A stream ends within seconds of what would keep its reader out: nobody hears of a job for an hour more."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, func, update
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.db.engine import session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import ApiKey, LoginSession, Person, ProjectMember, Role
from annotation_api.http import auth
from annotation_api.jobs.events import stream, watchers
from annotation_api.jobs.events.admission import LetIn, unwelcome
from annotation_api.jobs.events.watchers import EventPoller
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from tests.support.engine_room import PATIENCE

Change = Callable[[Session, LetIn], Any]
CHANGES: dict[str, Change] = {
    "retired": lambda session, who: session.execute(update(Person).where(Person.id == who.person).values(active=False)),
    "another role": lambda session, who: session.execute(
        update(Person).where(Person.id == who.person).values(role=Role.ANNOTATOR)
    ),
    "no member any more": lambda session, who: session.execute(
        delete(ProjectMember).where(ProjectMember.person_id == who.person)
    ),
    "the key revoked": lambda session, who: session.execute(
        update(ApiKey).where(ApiKey.id == who.key).values(revoked_at=func.now())
    ),
    "the key expired": lambda session, who: session.execute(
        update(ApiKey).where(ApiKey.id == who.key).values(expires_at=func.now())
    ),
    "signed out": lambda session, who: session.execute(
        delete(LoginSession).where(LoginSession.token_hash == who.login)
    ),
}


@pytest.fixture
def sessions(fresh_engine: Engine) -> sessionmaker[Session]:
    return session_factory(fresh_engine)


class Room:
    """A running job of a project that is not open, and two members who watch it."""

    def __init__(self, session: Session, make: Any) -> None:
        self.project = make.project(open=False)
        self.job = make.job(inputs={"project": str(self.project.id)}).id
        claimed = job_store.claim(session, "host:1", 60)
        assert claimed is not None
        job_store.mark_running(session, claimed.id, claimed.epoch)
        self.epoch = claimed.epoch
        self.leaves, self.stays = self._member(session, make), self._member(session, make)

    def _member(self, session: Session, make: Any) -> LetIn:
        """With both a key and a cookie, so that each change ends the stream of one and touches nobody else's."""
        person = make.person(Role.REVIEWER)
        session.add(ProjectMember(project_id=self.project.id, person_id=person.id))
        key, _ = people.add_api_key(session, person, NewApiKey(name="watch"))
        return LetIn(person.id, person.role, key.id, auth.hash_token(auth.start_session(session, person)))


@pytest.fixture
def room(sessions: sessionmaker[Session], factory: Any) -> Room:
    with sessions.begin() as session:
        return Room(session, factory(session))


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_who_would_not_be_let_in_is_cut_off_and_nobody_else(
    sessions: sessionmaker[Session], room: Room, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.05)
    poller = EventPoller(lambda: sessions)
    reported: dict[LetIn, list[bytes]] = {room.leaves: [], room.stays: []}

    async def listen(who: LetIn) -> None:
        with poller.watching(who, room.job, 0) as watcher:
            async for piece in stream.events(watcher):
                reported[who].append(piece)

    def happen() -> None:
        with sessions.begin() as session:
            change(session, room.leaves)

    def end() -> None:
        with sessions.begin() as session:
            job_store.fail(session, room.job, room.epoch, Failure(ErrorKind.DIVERGED, "NaN."), Again.NEVER)

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for who in reported:
                tasks.create_task(listen(who))
            await until(lambda: all(reported.values()))
            await asyncio.to_thread(happen)
            await until(lambda: poller.streams == 1)
            await asyncio.to_thread(end)

    asyncio.run(asyncio.wait_for(run(), 3 * PATIENCE))
    assert b"event: end" not in b"".join(reported[room.leaves])
    assert b"event: end" in b"".join(reported[room.stays])


def test_a_look_asks_once_for_a_person_however_many_streams_they_have(
    sessions: sessionmaker[Session], room: Room, factory: Any, fresh_engine: Engine
) -> None:
    with sessions.begin() as session:
        others = [factory(session).job().id for _ in range(20)]
    watches = {(who, job) for who in (room.leaves, room.stays) for job in [room.job, *others]}
    asked: list[str] = []
    event.listen(fresh_engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with sessions() as session:
        assert unwelcome(session, watches) == set()
    assert len(asked) == 5  # people, keys, logins, and what each of the two sees


def test_streams_are_looked_at_a_part_at_a_time_and_hold_no_connection_between(
    sessions: sessionmaker[Session], room: Room, fresh_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(watchers, "LOOKED_AT", 2)
    poller = EventPoller(lambda: sessions)

    async def run() -> list[float]:
        began = time.monotonic()
        with (
            poller.watching(room.stays, room.job, 3) as one,
            poller.watching(room.stays, room.job, 3) as two,
            poller.watching(room.leaves, room.job, 3) as three,
        ):
            open_ones = (one, two, three)
            async with asyncio.timeout(PATIENCE):
                while any(each.looked <= began for each in open_ones):
                    await asyncio.sleep(0.01)
                while fresh_engine.pool.checkedout():  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
            assert not any(each.dismissed for each in open_ones)
            return [each.looked for each in open_ones]

    assert len(set(asyncio.run(run()))) > 1


def test_the_door_notes_with_what_somebody_came(as_: Any, browser_of: Any, make: Any, monkeypatch: Any) -> None:
    """By a key, or by a cookie: what is revoked or signed out is known by it."""
    noted: list[LetIn] = []
    job = make.job()

    class Noted(Exception):
        """Instead of a stream."""

    def watching(self: EventPoller, who: LetIn, job: uuid.UUID, last: int) -> Any:
        noted.append(who)
        raise Noted

    monkeypatch.setattr(EventPoller, "watching", watching)
    for client in (as_(Role.ENGINEER), browser_of(Role.REVIEWER)):
        client.get(f"/v1/jobs/{job.id}/events")
    by_key, by_cookie = noted
    assert (by_key.role, by_key.key is None, by_key.login) == (Role.ENGINEER, False, None)
    assert (by_cookie.role, by_cookie.key, by_cookie.login is None) == (Role.REVIEWER, None, False)
