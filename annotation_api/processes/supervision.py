"""Processes that must run as long as the service does: started again when they die, more slowly each time.

`rankloop up` and `rankloop serve` are such services. Whatever ends one of the processes, they go on trying: they end
when told to, never because something else did. A parent that is killed takes its children with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from annotation_api import logs
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.db.postgres.embedded import EmbeddedPostgres

PR_SET_PDEATHSIG = 1
STOP_GRACE = 20.0  # seconds for a child to end after SIGTERM
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before what died soon after its start is started again
STEADY = 60.0  # what lived for so many seconds is started again at once
LOG_BYTES = 20 * 2**20  # a log that is larger becomes the first of LOGS_KEPT older ones
LOGS_KEPT = 4

Say = Callable[[str], object]


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent ends, however it ends; elsewhere the parent's own stop must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Pace:
    """When something that died may be started again: at once, then after pauses that double from FIRST_PAUSE."""

    clock: Callable[[], float] = time.monotonic
    deaths: int = 0  # in a row, each before it was STEADY
    began: float = field(init=False)
    due: float | None = None  # unset while it lives

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.began, self.due = self.clock(), None

    def died(self) -> float:
        """It is dead; the pause until `due`."""
        self.deaths = 0 if self.clock() - self.began >= STEADY else self.deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.deaths - 2)) if self.deaths > 1 else 0.0
        self.due = self.clock() + pause
        return pause

    @property
    def is_due(self) -> bool:
        return self.due is not None and self.clock() >= self.due


@dataclass
class Child:
    """One process, and what it starts in its own process group. Without a log it writes where its parent does."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path | None = None
    before: Callable[[], None] = lambda: None  # done before each start
    process: subprocess.Popen[bytes] = field(init=False)
    pace: Pace = field(default_factory=Pace)

    def start(self) -> None:
        self.pace.start()
        self.before()
        if self.log is None:
            self._spawn(None)
        else:
            with self.log.open("ab") as log:
                self._spawn(log.fileno())

    def _spawn(self, output: int | None) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops the children in order
            preexec_fn=die_with_parent,
        )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._bury()

    def _bury(self) -> None:
        """End what a process that has ended left behind in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def tend(self, say: Say) -> None:
        """Start it again if it died and the time for it has come."""
        code = self.process.poll()
        if code is None:
            return
        if self.pace.due is None:
            self._bury()
            where = f" Its log: {self.log}" if self.log else ""
            say(f"The {self.name} ended with code {code}; {_starting(self.pace.died())}.{where}")
        if self.pace.is_due:
            try:
                self.start()
            except OSError as error:  # no memory, no process, no room for its log: perhaps later
                say(f"The {self.name} cannot be started: {error}; {_starting(self.pace.died())}.")

    def last_words(self, lines: int = 5) -> str:
        assert self.log is not None
        text = self.log.read_text(errors="replace").strip()
        return "\n".join(logs.readable(line).rstrip() for line in text.splitlines()[-lines:])


class Database:
    """The embedded Postgres, started again in a thread of its own: a recovery may take minutes."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server, self.pace = server, Pace()
        self._leaving = threading.Event()
        self._starter = ThreadPoolExecutor(1, "postgres-starter")
        self._start: Future[str] | None = None

    def stop(self) -> None:
        """End a start that is under way, then the server."""
        self._leaving.set()
        self._starter.shutdown()
        self.server.stop()

    def tend(self, say: Say) -> None:
        """Start it again if it died, and if its start came to nothing: also while it recovers."""
        if self._start is not None:
            self._look_at_start(say)
        elif not self.server.running:
            if self.pace.due is None:
                say(f"Postgres ended; {_starting(self.pace.died())}.")
            if self.pace.is_due:
                self.pace.start()
                self._start = self._starter.submit(self.server.start, self._leaving.is_set)

    def _look_at_start(self, say: Say) -> None:
        assert self._start is not None
        if not self._start.done():
            return
        failure, self._start = self._start.exception(), None
        if failure is None:
            say("Postgres runs again.")
        elif isinstance(failure, DatabaseUnavailable | OSError):
            say(f"Postgres did not start: {failure}; {_starting(self.pace.died())}.")
        else:
            raise failure


def _starting(pause: float) -> str:
    return f"starting it again in {pause:.0f} s" if pause else "starting it again"


def rotate(log: Path) -> None:
    """Keep a log that processes append to from growing without end.

    They hold the file open for appending, so it is copied and cut rather than renamed; what is written in between
    is lost.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size <= LOG_BYTES:
            return
        for number in range(LOGS_KEPT, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                _older(log, number - 1).replace(_older(log, number))
        shutil.copy2(log, _older(log, 1))
        with log.open("r+b") as file:
            file.truncate()


def _older(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
