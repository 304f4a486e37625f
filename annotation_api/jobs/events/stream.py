"""A job's events as server-sent events: resumable by number, ended by the job's end.

Whether its reader may still have it is asked every few seconds (`watchers.LOOK_SECONDS`), of many streams together.
After LONGEST_SECONDS a stream is cut, and the client takes it up after the last number that it saw.

Not FastAPI's own `fastapi.sse`: it encodes each event for each reader, and waits for a slow client for ever. Here all
who watch a job share the bytes of its chunks, and who takes nothing for SLOW_SECONDS is cut off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from annotation_api.jobs.events.admission import LetIn
from annotation_api.jobs.events.watchers import EventPoller, Watcher, written

log = logging.getLogger("rankloop.api")

PING_SECONDS = 15.0
PING = b": still here\n\n"
SLOW_SECONDS = 30.0  # a client that takes nothing for so long is cut off
LONGEST_SECONDS = 3600.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """An answer that holds a place in the hub for exactly as long as it is being sent."""

    media_type = "text/event-stream"

    def __init__(self, poller: EventPoller, who: LetIn, job: uuid.UUID, last: int) -> None:
        super().__init__(_nothing(), headers=HEADERS)
        self.poller, self.who, self.job, self.last = poller, who, job, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.poller.watching(self.who, self.job, self.last) as watcher:
            self.body_iterator = events(watcher)
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        async def patiently(message: Message) -> None:
            async with asyncio.timeout(SLOW_SECONDS):
                await send(message)

        try:
            await super().stream_response(patiently)
        except TimeoutError:
            log.info("A client of the events of job %s took nothing for %.0f s and is cut off.", self.job, SLOW_SECONDS)


async def events(watcher: Watcher) -> AsyncIterator[bytes]:
    """Every event as it comes; then one event `end` with the job's state. Comments show that the line is open."""
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        body = await watcher.next(PING_SECONDS)
        if watcher.dismissed:  # who comes back is told why at the door
            return
        if body is None:
            assert watcher.channel.ended is not None
            yield written("end", json.dumps({"state": watcher.channel.ended.value}))
            return
        yield body or PING


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
