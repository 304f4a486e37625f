"""The demo's memory: the largest sum of resident sizes over its whole tree of processes."""

from __future__ import annotations

import threading

import psutil

EVERY = 1.0  # seconds


class PeakMemory:
    """A context manager; `megabytes` is the peak so far. Shared pages count once for each process."""

    def __init__(self) -> None:
        self.megabytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            self.megabytes = max(self.megabytes, tree_bytes() // 2**20)


def tree_bytes() -> int:
    """Resident bytes of this process and all its descendants."""
    me = psutil.Process()
    return sum(_resident(process) for process in [me, *me.children(recursive=True)])


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it ended between the listing and the look
        return 0
