"""Who downloads does not take the threads in which others are served."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import anyio
import pytest
from anyio import CapacityLimiter, to_thread
from starlette.types import Message

from annotation_api.http.downloads import THREADS, Download

MANY = 45  # more than the server has worker threads
SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


async def receive() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


def test_many_downloads_that_take_long_leave_the_threads_to_others() -> None:
    go, sent = threading.Event(), []

    def pieces() -> Iterator[bytes]:
        go.wait()
        yield b"all"

    async def send(message: Message) -> None:
        sent.append(message.get("body"))

    async def others() -> None:
        threads = CapacityLimiter(THREADS)
        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(Download(pieces(), threads, "text/csv", {}), SCOPE, receive, send)
            while threads.borrowed_tokens < THREADS:
                await anyio.sleep(0.001)
            try:
                with anyio.fail_after(30):
                    assert await to_thread.run_sync(lambda: "served", abandon_on_cancel=True) == "served"
            finally:
                go.set()

    anyio.run(others)
    assert sent.count(b"all") == MANY


def test_what_fails_on_the_way_is_not_a_whole_file() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("gone")

    async def send(message: Message) -> None:
        assert message.get("more_body", True), "the end was said"

    with pytest.raises(RuntimeError, match="gone"):
        anyio.run(Download(pieces(), CapacityLimiter(1), "text/csv", {}), SCOPE, receive, send)
