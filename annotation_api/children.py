"""Processes that must run as long as their parent: started again when they die, ended with it, none left over.

`rankloop up` and `rankloop serve` are such parents. A parent that is killed takes its children with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from alignment import logs

PR_SET_PDEATHSIG = 1
STOP_GRACE = 20.0  # seconds for a child to end after SIGTERM
QUICK_DEATH = 5.0  # a child that lives shorter than this is started again more slowly


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent ends, however it ends; elsewhere the parent's own stop must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One process, and what it starts in its own process group. Without a log it writes where its parent does."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path | None = None
    before: Callable[[], None] = lambda: None  # done before each start
    process: subprocess.Popen[bytes] = field(init=False)
    started: float = field(init=False)
    restart_at: float | None = None

    def start(self) -> None:
        self.before()
        if self.log is None:
            self._spawn(None)
        else:
            with self.log.open("ab") as log:
                self._spawn(log.fileno())
        self.started, self.restart_at = time.monotonic(), None

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

    def bury(self) -> None:
        """End what a process that has ended left behind in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.bury()

    def last_words(self, lines: int = 5) -> str:
        assert self.log is not None
        text = self.log.read_text(errors="replace").strip()
        return "\n".join(logs.readable(line).rstrip() for line in text.splitlines()[-lines:])


def tend(children: Iterable[Child], say: Callable[[str], None]) -> None:
    """Start again what died: at once the first time, after QUICK_DEATH seconds if it keeps dying."""
    now = time.monotonic()
    for child in children:
        code = child.process.poll()
        if code is None:
            continue
        if child.restart_at is None:
            child.bury()
            child.restart_at = now + (QUICK_DEATH if now - child.started < QUICK_DEATH else 0)
            where = f" Its log: {child.log}" if child.log else ""
            say(f"The {child.name} ended with code {code}; starting it again.{where}")
        if now >= child.restart_at:
            child.start()
