"""A stage in a child process of the launcher: no Ray, no placement, and a start in a fraction of the time.

For one machine whose jobs need no more than its first GPU each; nothing keeps two of them off one another.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from alignment.shared.events import Paused, StageResult
from alignment.shared.sentence import Sentence
from annotation_api.db.jobs.records import Wish
from annotation_api.db.kinds import ErrorKind
from workers.executors.base import Waiting
from workers.executors.memory import OutOfMemoryWatch
from workers.stage.faults import AGAIN_OR_LOG, SMALLER, AttemptError, Fault, Faulted
from workers.stage.process import Here, LauncherCommand, Over
from workers.stage.work import Batch, StageOutcome, StageWork, importable

ASKS = {Wish.CANCEL: LauncherCommand.CANCEL, Wish.PAUSE: LauncherCommand.PAUSE}
BURIAL_SECONDS = 5.0  # between a closed connection and the exit code

log = logging.getLogger(__name__)


class ProcessExecutor:
    """See `executors.Executor`."""

    device = "cpu"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection[Any, Any] | None = None
        self._here = self._asked = self._over = False
        self._outcome: StageOutcome = None
        self._batch = Batch()
        self._memory = OutOfMemoryWatch()

    def start(self, work: StageWork, gpus: float, *, allow_cpu: bool = False) -> None:
        if gpus > 1:
            cause = Sentence(
                "plain-processes-one",
                "The job asks for %(gpus)s GPUs, and plain processes use one each.",
                gpus=f"{gpus:g}",
            )
            raise AttemptError(
                ErrorKind.INFEASIBLE, cause, Sentence("one-or-ray", "Ask for 1, or set RANKLOOP_EXECUTOR to ray.")
            )
        self.device = "gpu" if gpus and has_gpu() else "cpu"
        hidden = {"CUDA_VISIBLE_DEVICES": first_gpu() if self.device == "gpu" else ""}  # one, or none
        self._line, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.stage.process", str(theirs.fileno()), str(os.getpid())],
                env=os.environ | work.environment() | hidden,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._say(replace(work, run=importable(work.run)))

    def placed(self, patience: float) -> Waiting | None:
        self._receive(patience, until=lambda: self._here)
        if self._over:
            self.result()
        return None if self._here else Waiting("loading")

    def over(self, patience: float) -> bool:
        self._receive(patience, until=lambda: self._over)
        return self._over

    def take(self, patience: float) -> Batch:
        if not self._over and not self._asked:
            self._asked = True
            self._say(LauncherCommand.TAKE)
        self._receive(patience, until=lambda: not self._asked)
        taken, self._batch = self._batch, Batch()
        return taken

    def ask(self, wish: Wish) -> None:
        self._say(ASKS[wish])

    def result(self) -> StageResult:
        if isinstance(self._outcome, Fault):
            raise Faulted(self._outcome)
        if self._outcome is None:
            raise Paused
        return self._outcome

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # ------------------------------------------------------------ the line

    def _say(self, word: StageWork | LauncherCommand) -> None:
        assert self._line is not None
        try:
            self._line.send(word)
        except OSError as error:  # it is over; what it said before is still to be heard
            log.debug("The stage no longer listens: %s", error)

    def _receive(self, patience: float, until: Callable[[], bool]) -> None:
        """Read what the stage says, up to `patience` seconds, until it has said what was waited for or is over."""
        assert self._line is not None
        deadline = time.monotonic() + patience
        while not self._over and not until() and self._line.poll(max(0.0, deadline - time.monotonic())):
            try:
                self._note(self._line.recv())
            except (EOFError, OSError):
                self._bury()
        if not self._over:
            self._memory.check()

    def _note(self, word: Here | Batch | Over) -> None:
        if isinstance(word, Here):
            log.info("The stage runs in process %d.", word.pid)
            self._here = True
        elif isinstance(word, Batch):
            self._batch += word
            self._asked = False
        else:
            self._batch += word.rest
            self._outcome, self._over, self._asked = word.outcome, True, False

    def _bury(self) -> None:
        """The process died without a last word."""
        assert self._process is not None
        self._over, self._asked = True, False
        try:
            code = self._process.wait(BURIAL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._outcome = self._death(code)

    def _death(self, code: int) -> Fault:
        if code == -signal.SIGKILL and self._memory.struck():
            cause = Sentence("machine-out-of-memory", "The system ended the stage: the machine ran out of memory.")
            return Fault(ErrorKind.OUT_OF_MEMORY, cause, SMALLER)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Fault(
            ErrorKind.CRASH,
            Sentence("stage-process-died-with", "The process that ran the stage died with %(how)s.", how=how),
            AGAIN_OR_LOG,
        )


def first_gpu() -> str:
    """The one that a stage may use: a training library spreads over all that it sees."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


def has_gpu() -> bool:
    """Whether a stage here may and can use a CUDA device, by what Linux shows of it and what torch was built for."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    return allowed and any(Path("/dev").glob("nvidia[0-9]*")) and torch_knows_cuda()


def torch_knows_cuda() -> bool:
    """Whether torch is a build for CUDA or ROCm: its own note of that is run, torch itself is not loaded."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    said = runpy.run_path(str(Path(found.origin).with_name("version.py")))
    return bool(said.get("cuda") or said.get("hip"))
