"""HTTP on the wire, as uvicorn speaks it, and patient only so far.

A request's head comes within HEAD_SECONDS and is small; it names one host. Who was answered before their body was
whole, or sends on after that, is cut off LINGER_SECONDS later: long enough to read the answer.

Who connects comes to the Doorman first, and with a whole head to Guarded: to make one costs more than all else that a
connection costs, and of thousands of strangers who come at once most say nothing.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from annotation_api.http import metrics
from annotation_api.http.entry.deadlines import at_least

HEAD_SECONDS = 5.0
LINGER_SECONDS = 2.0
MOST_HEAD = 32 * 2**10  # bytes
MOST_HEADERS = 100
REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r?\n")


class BadHead(Exception):
    """A head that no browser and no client of ours sends; the connection ends with 400."""


class Doorman(asyncio.Protocol):
    """Waits for a connection's first head, and hands it to Guarded as soon as it is whole, too long, or none at all."""

    __slots__ = ("_connections", "_given", "_head", "_timer", "_transport")

    def __init__(self, **given: Any) -> None:
        self._given, self._connections, self._head = given, given["server_state"].connections, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(at_least(HEAD_SECONDS), self._cut)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if _is_ready(self._head, len(data)):
            self._leave()
            guarded = Guarded(**self._given)
            self._transport.set_protocol(guarded)
            guarded.connection_made(self._transport)
            guarded.data_received(self._head)

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def shutdown(self) -> None:
        """As uvicorn's protocols: the server stops."""
        self._transport.close()

    def _leave(self) -> None:
        self._timer.cancel()
        self._connections.discard(self)

    def _cut(self) -> None:
        metrics.SHED.labels("slow-head").inc()
        self._transport.close()


def _is_ready(head: bytes, new: int) -> bool:
    """Whether Guarded can say something to it; `new` bytes of it came just now."""
    start = max(0, len(head) - new - 3)
    if head.find(b"\r\n\r\n", start) >= 0 or head.find(b"\n\n", start) >= 0 or len(head) > MOST_HEAD:
        return True
    return b"\n" in head and REQUEST_LINE.match(head) is None


class Guarded(HttpToolsProtocol):
    _head_size = 0
    _whole = True  # the body of the request in hand
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._cut_in(HEAD_SECONDS, "slow-head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waits = self._waits_for_head()
        super().data_received(data)
        if waits and self._waits_for_head() and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > MOST_HEAD:
                metrics.SHED.labels("large-head").inc()
                self.send_400_response("The head of the request is too large.")

    def _waits_for_head(self) -> bool:
        return self._timer is not None and self._whole

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        self._cut_in(HEAD_SECONDS, "slow-head")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_size += len(name) + len(value)
        if len(self.headers) > MOST_HEADERS or self._head_size > MOST_HEAD:
            metrics.SHED.labels("large-head").inc()
            raise BadHead

    def on_headers_complete(self) -> None:
        self._cut_in(None)
        self._whole = False
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            raise BadHead
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._whole and not self.transport.is_closing():
            self._cut_in(LINGER_SECONDS, "unread-body")

    def _cut_in(self, seconds: float | None, why: str = "") -> None:
        """End the connection in so many seconds, unless it is told otherwise before; None: not at all."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(at_least(seconds), self._cut, why)

    def _cut(self, why: str) -> None:
        metrics.SHED.labels(why).inc()
        self.transport.close()
