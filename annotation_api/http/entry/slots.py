"""Slots: how many transactions run at a time, and how long one waits for its turn before it is told to come again.

The app takes the numbers of worker threads and connections from all slots, so that requests queue here and never
inside a worker thread for a connection, where the ones holding connections could not finish.
"""

from __future__ import annotations

import asyncio

from alignment.shared.sentence import Sentence
from annotation_api.http import metrics
from annotation_api.http.errors import ApiError

WAIT_SECONDS = 0.8  # an answer within the second tells more than a connection that times out
RETRY_SECONDS = 1


class Slots:
    """`async with slots:` holds one. Raises ApiError 503 when none comes free in time."""

    def __init__(self, name: str, most: int) -> None:
        self.name, self._free = name, asyncio.Semaphore(most)

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise busy(self.name) from None

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


def busy(what: str, status: int = 503, seconds: int = RETRY_SECONDS) -> ApiError:
    metrics.SHED.labels(what).inc()
    detail = Sentence(
        "busy", "The service has more to do than it can. Nothing was changed; try again in %(n)s s.", n=seconds
    )
    return ApiError(status, "busy", detail, headers={"Retry-After": str(seconds)})
