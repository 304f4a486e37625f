"""How a request's body comes in: whole before its work begins, in time, and together in bounded memory.

A body may pause for RANKLOOP_BODY_SECONDS (or a little longer, see `deadlines`), and take as long and what its bytes
need at SLOWEST bytes a second. `Bodies` counts what is held of bodies that are still on their way: when that is too
much, the one that has been on its way for longest gives way, which is never one whose caller sends as fast as the line
carries.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import Request
from starlette.types import Message, Receive

from alignment.shared.validation import Problem
from annotation_api.http import metrics
from annotation_api.http.entry.deadlines import at_least
from annotation_api.http.errors import ApiError
from annotation_api.http.schemas import WrongBody, unstorable

SLOWEST = 16 * 2**10  # bytes a second
BYTES_OF_A_VALUE = 64  # a route that takes so many bytes takes one value of JSON for each 64 of them
COULD_BE_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD])|[\xed\0]")  # of the bytes, most bodies have none of these
MOST_HELD = 64 * 2**20  # bytes of all bodies that are on their way

Hold = Callable[[int], None]  # so many bytes more
Pace = Callable[[int], Awaitable[None]]


class Whole(Request):
    """A request whose body is read."""

    async def json(self) -> Any:
        """JSONDecodeError also for what only Python objects to."""
        body = await self.body()
        found = parsed(body)
        most = self.scope.get(MAX_BODY_SIZE_SCOPE_KEY, len(body)) // BYTES_OF_A_VALUE
        if _has_more(found, most):
            message = f"The body has more than {most} values, the most that this path takes."
            raise WrongBody(Problem(pointer="/", message=message))
        if COULD_BE_UNSTORABLE.search(body) and (problem := unstorable(found)):
            raise WrongBody(problem)
        return found


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", "", error.start) from None
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise json.JSONDecodeError("a number with too many digits", "", 0) from None


def _finite(text: str) -> float:
    """A number that can be stored: JSON has none beyond all bounds, and Postgres takes none."""
    if not math.isfinite(value := float(text)):
        raise json.JSONDecodeError(f"{text[:20]} is no number that can be stored", "", 0)
    return value


def _has_more(found: Any, most: int) -> bool:
    """Whether there are more than so many values in it; to name each one's fault takes far longer than to count."""
    waiting, count = [found], 1
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += len(inner)
        if count > most:
            return True
        waiting.extend(inner)
    return False


class Bodies:
    """The bodies that are on their way into this process's memory."""

    def __init__(self, seconds: float, most: int = MOST_HELD) -> None:
        self.seconds, self.most, self.held = seconds, most, 0
        self._arriving: dict[Arriving, None] = {}  # in the order in which they began

    async def read(self, request: Request) -> Whole:
        """The same request with its body read. Raises ApiError 408 for one that is too slow."""
        arriving = Arriving(request.receive, self.seconds, self.hold)
        whole = Whole(request.scope, arriving.receive)
        self._arriving[arriving] = None
        try:
            await whole.body()
        finally:
            del self._arriving[arriving]
            self.held -= arriving.size
        return whole

    def hold(self, more: int) -> None:
        self.held += more
        if self.held > self.most:
            next(iter(self._arriving)).give_way()


async def at_once(more: int) -> None:
    """The pace of what is small."""


class Arriving:
    """One body; as `receive` it ends in ApiError 408 when the caller is too slow, and waits when `pace` does."""

    def __init__(self, receive: Receive, seconds: float, hold: Hold = lambda more: None, pace: Pace = at_once) -> None:
        self._receive, self._promised, self._hold, self._pace = receive, seconds, hold, pace
        self._seconds = at_least(seconds)
        self._began = asyncio.get_running_loop().time()
        self._limit: asyncio.Timeout | None = None
        self._gives_way = False
        self.size, self.whole = 0, False

    async def receive(self) -> Message:
        if self.whole:  # what comes now is that the caller left, whenever that is
            return await self._receive()
        if self._gives_way:
            raise self._too_slow()
        try:
            async with asyncio.timeout_at(self._deadline()) as self._limit:
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        self._note(message)
        await self._pace(len(message.get("body", b"")))
        return message

    def give_way(self) -> None:
        """End at once, also in the middle of waiting."""
        self._gives_way = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _deadline(self) -> float:
        now = asyncio.get_running_loop().time()
        return min(now + self._seconds, self._began + self._seconds + self.size / SLOWEST)

    def _note(self, message: Message) -> None:
        more = len(message.get("body", b""))
        self.size += more
        self.whole = not message.get("more_body", False)
        self._hold(more)

    def _too_slow(self) -> ApiError:
        metrics.SHED.labels("bodies" if self._gives_way else "slow-body").inc()
        detail = f"The body did not come in time: it may pause for {self._promised:g} s and must bring "
        detail += f"{SLOWEST // 1024} KiB a second. Send it again."
        return ApiError(408, "body-too-slow", detail, headers={"Connection": "close"})
