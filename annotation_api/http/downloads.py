"""Files that are made while they are read, in few threads of their own: who works never waits for who downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

from anyio import CapacityLimiter, to_thread
from fastapi.responses import StreamingResponse

THREADS = 3  # that make pieces at a time, of all downloads together; a reader that is slow holds none


class Download(StreamingResponse):
    """`pieces` as the client takes them. One that leaves ends the iterator."""

    def __init__(
        self, pieces: Iterator[bytes], threads: CapacityLimiter, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(_made(pieces, threads), media_type=media_type, headers=headers)


async def _made(pieces: Iterator[bytes], threads: CapacityLimiter) -> AsyncIterator[bytes]:
    while (piece := await to_thread.run_sync(next, pieces, None, limiter=threads)) is not None:
        yield piece
