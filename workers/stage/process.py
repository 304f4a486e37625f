"""The child process of a launcher in which a stage runs, without Ray.

    python -m workers.stage.process DESCRIPTOR LAUNCHER

DESCRIPTOR is an inherited connection: work comes in, then questions; answers and the outcome go out.
It ends with the launcher, however that one ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from typing import Any

from annotation_api import logs
from workers.stage.work import Batch, BufferedReporter, StageOutcome, StageWork, perform

PR_SET_PDEATHSIG = 1


class LauncherCommand(Enum):
    """What a launcher says to its stage."""

    TAKE = auto()  # answered with a Batch
    CANCEL = auto()
    PAUSE = auto()


@dataclass(frozen=True)
class Here:
    """The first word of the stage's process."""

    pid: int


@dataclass(frozen=True)
class Over:
    """Its last word, with what it had not been asked for yet."""

    outcome: StageOutcome
    rest: Batch


class Line:
    """The stage's end of the connection; two threads speak on it."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def say(self, word: Here | Batch | Over) -> None:
        with self._lock:
            self._connection.send(word)

    def answer(self, reporter: BufferedReporter) -> None:
        """Answer the launcher as long as it is there; end the process when it is not."""
        while True:
            try:
                asked: LauncherCommand = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            if asked is LauncherCommand.TAKE:
                self.say(reporter.take())
            else:
                (reporter.cancel if asked is LauncherCommand.CANCEL else reporter.pause).set()


def main(arguments: Sequence[str]) -> int:
    """Run the stage that the launcher sends."""
    descriptor, launcher = map(int, arguments)
    die_with(launcher)
    connection: Connection[Any, Any] = Connection(descriptor)
    work: StageWork = connection.recv()
    logs.start("stage", style="text", **work.about)
    line, reporter = Line(connection), BufferedReporter()
    line.say(Here(os.getpid()))
    threading.Thread(target=line.answer, args=(reporter,), name="listener", daemon=True).start()
    outcome = perform(work, reporter)
    line.say(Over(outcome, reporter.take()))
    return 0


def die_with(launcher: int) -> None:
    """Have Linux end this process when its launcher ends; elsewhere the listener sees to it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it ended before
        os._exit(1)


if __name__ == "__main__":
    from workers.stage import process  # under its own name, so that what it sends can be read

    sys.exit(process.main(sys.argv[1:]))
