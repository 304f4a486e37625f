"""How far the imports of this process have come, for those who wait for one.

The person and the Idempotency-Key of the upload name an import while it runs; nothing is kept after it.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class WatchedFile:
    """A file that counts what is read of it; who reads it also says how many rows there were."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.total = file.seek(0, os.SEEK_END)
        file.seek(0)
        self.bytes = self.rows = 0
        self._started = time.monotonic()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes += len(data)
        return data

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


_running: dict[tuple[uuid.UUID, str], WatchedFile] = {}


@contextmanager
def watched(file: IO[bytes], person: uuid.UUID, key: str | None) -> Iterator[WatchedFile]:
    """The file from its start, findable by `running` while inside (without a key by nobody)."""
    found = WatchedFile(file)
    if key is None:
        yield found
        return
    _running[person, key] = found
    try:
        yield found
    finally:
        _running.pop((person, key), None)


def running(person: uuid.UUID, key: str) -> WatchedFile | None:
    return _running.get((person, key))
