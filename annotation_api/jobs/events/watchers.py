"""Who watches which job: one poller for all watched jobs of this process, which passes new events on.

The database is asked four times a second, by one statement for all jobs, and only while somebody watches.
A job's events are numbered without gaps, so a watcher knows by the number alone what it has had and what
it missed. What it missed, because it came late or was slow, it fetches itself; so none holds more than
MOST_CHUNKS, which all share.

Everything here belongs to one event loop; only the questions to the database run in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.sentence import Sentence
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.jobs.machine import ENDED
from annotation_api.db.tables import JobState
from annotation_api.http import metrics
from annotation_api.http.errors import ApiError
from annotation_api.jobs import queries
from annotation_api.jobs.events.admission import LetIn, Watch, unwelcome
from annotation_api.jobs.queries import NextEvents

log = logging.getLogger("rankloop.api")

POLL_SECONDS = 0.25
AWAY_SECONDS = 1.0  # between two tries of one who catches up while the database is away
BATCH = 200  # events of a job at a time
MOST_CHUNKS = 16  # that wait for a watcher; a slower one asks the database instead
LOOK_SECONDS = 5.0  # after which it is asked again whether a stream's reader may have it
LOOKED_AT = 100  # streams that are asked about at a time: all of them are within two of those spans
STREAMS_OF_A_PERSON = 50
STREAMS = 2000
RETRY_SECONDS = 10
AWAY = (DatabaseUnavailable, OperationalError, InterfaceError, PoolTimeout)
LINES = 2  # to the database: the poller, and one who catches up


def written(kind: str, text: str, number: int | None = None) -> bytes:
    """One server-sent event; `text` is JSON on one line."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {text}\n\n".encode()


@dataclass(frozen=True)
class Chunk:
    """Events of a job in order and without gaps, written once for all who get them."""

    first: int
    parts: tuple[bytes, ...]
    body: bytes

    @classmethod
    def of(cls, rows: Sequence[queries.EventRow]) -> Chunk:
        parts = tuple(written(row.type, row.text, row.seq) for row in rows)
        return cls(rows[0].seq, parts, b"".join(parts))

    @property
    def last(self) -> int:
        return self.first + len(self.parts) - 1

    def after(self, number: int) -> bytes:
        """What comes after the event `number`."""
        return self.body if number < self.first else b"".join(self.parts[number - self.first + 1 :])


@dataclass(eq=False)
class Channel:
    """A job that is watched: how far its watchers were told, and how it ended."""

    job: uuid.UUID
    sent: int | None = None  # the last event passed on; unknown until the first watcher has caught up
    ended: JobState | None = None
    watchers: set[Watcher] = field(default_factory=set)

    def pass_on(self, chunk: Chunk | None, ended: JobState | None) -> None:
        """Pass on what is new, and the end."""
        self.ended = ended
        if chunk is not None:
            self.sent = chunk.last
        for watcher in self.watchers:
            watcher.receive(chunk)


@dataclass(eq=False)
class Watcher:
    """One open stream: what it has had, and the chunks that wait for it."""

    poller: EventPoller
    channel: Channel
    last: int  # the number of the last event that went out
    who: LetIn
    looked: float = field(default_factory=time.monotonic)  # when it was last asked whether they may: they just were
    dismissed: bool = False  # they may not any more: the stream is cut
    chunks: deque[Chunk] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, chunk: Chunk | None) -> None:
        """Keep what follows on what it has; anything else is left to the database."""
        had = self.chunks[-1].last if self.chunks else self.last
        if chunk is not None and chunk.first <= had + 1:
            if len(self.chunks) < MOST_CHUNKS:
                self.chunks.append(chunk)
            else:
                self.chunks.clear()
        self.news.set()

    async def next(self, patience: float) -> bytes | None:
        """What comes next; b"" when `patience` seconds brought nothing, None at the end or when it was dismissed."""
        while not self.dismissed:
            self.news.clear()
            if self.chunks:
                body = self._take(self.chunks.popleft())
            elif self.channel.sent is None or self.last < self.channel.sent:
                body = await self._catch_up()
            elif self.channel.ended is not None:
                return None
            elif not await self._waited(patience):
                return b""
            else:
                continue
            if body:
                return body
        return None

    def dismiss(self) -> None:
        self.dismissed = True
        self.news.set()

    def _take(self, chunk: Chunk) -> bytes:
        body = chunk.after(self.last)
        self.last = max(self.last, chunk.last)
        return body

    async def _waited(self, patience: float) -> bool:
        try:
            async with asyncio.timeout(patience):
                return await self.news.wait()
        except TimeoutError:
            return False

    async def _catch_up(self) -> bytes:
        """The next events from the database; the first watcher at the end says from where the poller goes on."""
        try:
            batch = (await self.poller.batch({self.channel.job: self.last}))[0]
        except AWAY:
            await asyncio.sleep(AWAY_SECONDS)
            return b": the database is away\n\n"
        if batch.rows:
            self.last = batch.rows[-1].seq
        if len(batch.rows) < BATCH and self.channel.sent is None:
            self.channel.sent = self.last
            self.poller.note_end(self.channel, batch)
        return Chunk.of(batch.rows).body if batch.rows else b""


class EventPoller:
    """`with hub.watching(who, job, last) as watcher`: then `await watcher.next(...)` until None."""

    def __init__(self, sessions: Callable[[], sessionmaker[Session]]) -> None:
        self._sessions = sessions
        self._channels: dict[uuid.UUID, Channel] = {}
        self._people: Counter[uuid.UUID] = Counter()
        self._poller: asyncio.Task[None] | None = None
        self._lines = anyio.CapacityLimiter(LINES)

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._people.total()

    @contextmanager
    def watching(self, who: LetIn, job: uuid.UUID, last: int) -> Iterator[Watcher]:
        """A watcher of the job's events after `last`. Raises ApiError when the person or the process has too many."""
        self._admit(who.person)
        channel = self._channels.setdefault(job, Channel(job))
        watcher = Watcher(self, channel, last, who)
        channel.watchers.add(watcher)
        self._count(who.person, 1)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        try:
            yield watcher
        finally:
            self._count(who.person, -1)
            channel.watchers.discard(watcher)
            self._tidy(channel)

    def _count(self, person: uuid.UUID, more: int) -> None:
        self._people += Counter({person: more})  # nobody stays who has none
        metrics.STREAMS.set(self.streams)

    def _admit(self, person: uuid.UUID) -> None:
        wait = {"Retry-After": str(RETRY_SECONDS)}
        if self._people[person] >= STREAMS_OF_A_PERSON:
            detail = Sentence(
                "streams-of-a-person",
                "You have %(streams_of_a_person)s event streams open, the most that one person may. Close some.",
                streams_of_a_person=STREAMS_OF_A_PERSON,
            )
            raise ApiError(429, "too-many-streams", detail, headers=wait)
        if self.streams >= STREAMS:
            detail = Sentence(
                "streams-full",
                "The service has %(n)s event streams open, the most that it carries. Try again later.",
                n=STREAMS,
            )
            raise ApiError(503, "streams-full", detail, headers=wait)

    def _tidy(self, channel: Channel) -> None:
        """Forget a job that nobody watches; with the last stream goes the poller."""
        if not channel.watchers and self._channels.get(channel.job) is channel:
            del self._channels[channel.job]
        if not self.streams and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    # ---------------------------------------------------------------- the database

    async def batch(self, sent: Mapping[uuid.UUID, int]) -> list[NextEvents]:
        """The next events of each job, on a connection held only for this. A lost database raises one of AWAY."""

        def ask() -> list[NextEvents]:
            with self._sessions()() as session:
                return queries.next_events(session, sent, BATCH)

        return await anyio.to_thread.run_sync(ask, limiter=self._lines)

    async def _poll(self) -> None:
        away = more = False
        while True:
            try:
                await self._dismiss_unwelcome()
                more = await self._pass_on()
                away = False
            except AWAY as reason:
                if not away:
                    log.warning("Event streams wait for the database: %s", reason)
                away, more = True, False
            except Exception:
                more = False
                log.exception("a look for new events failed")  # the next one may not: everybody's streams hang on it
            await asyncio.sleep(0 if more else POLL_SECONDS)

    async def _pass_on(self) -> bool:
        """Tell the watchers of every job what is new; True when there is more already.

        A job that nobody has caught up with yet is left out.
        """
        asked = {job: channel for job, channel in self._channels.items() if channel.sent is not None}
        found = await self.batch({job: channel.sent or 0 for job, channel in asked.items()}) if asked else []
        for batch in found:
            channel = asked[batch.job]
            if batch.rows:
                channel.pass_on(Chunk.of(batch.rows), None)
            if len(batch.rows) < BATCH:
                self.note_end(channel, batch)
        return any(len(batch.rows) == BATCH for batch in found)

    async def _dismiss_unwelcome(self) -> None:
        """Cut the streams of those who would not be let in any more."""
        now = time.monotonic()
        everyone = (one for channel in self._channels.values() for one in channel.watchers)
        due = [one for one in everyone if now - one.looked >= LOOK_SECONDS][:LOOKED_AT]
        if not due:
            return

        def ask() -> set[Watch]:
            with self._sessions()() as session:
                return unwelcome(session, {(one.who, one.channel.job) for one in due})

        gone = await anyio.to_thread.run_sync(ask, limiter=self._lines)
        for watcher in due:
            watcher.looked = now
            if (watcher.who, watcher.channel.job) in gone:
                watcher.dismiss()

    def note_end(self, channel: Channel, batch: NextEvents) -> None:
        """After the last event of a job that has ended. Who comes later, perhaps after a retry, begins anew."""
        if batch.state in ENDED:
            channel.pass_on(None, batch.state)
            if self._channels.get(channel.job) is channel:
                del self._channels[channel.job]
