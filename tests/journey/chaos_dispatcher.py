"""A dispatcher whose launchers are forks of itself, for `job_chaos`.

    python -m tests.journey.chaos_dispatcher

A fork is a process of its own with the launcher's own code, but without the second that loading it takes.
"""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Collection
from typing import IO, Any

import psutil

from tests.journey import chaos_stage
from workers import __main__ as dispatcher
from workers.attempt import launcher
from workers.dispatch import processes
from workers.dispatch.dispatcher import Dispatcher, HeldJob


class Fork:
    """As much of a Popen as a dispatcher looks at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class ForkingDispatcher(Dispatcher):
    def spawn(self, job_id: uuid.UUID, epoch: int, output: IO[bytes]) -> Any:
        if pid := os.fork():
            return Fork(pid)
        code = 1
        try:
            os.setsid()
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            random.seed()  # a fork draws what its parent would have drawn
            code = launcher.main([str(job_id), str(epoch)], chaos_stage.run)
        finally:
            os._exit(code)  # without a word to the parent's connections

    def _lives(self, held: HeldJob, reporting: Collection[str]) -> bool:
        """A fork has its dispatcher's command line, by which nobody would know it."""
        launcher = processes.find(held.pid) if held.worker not in reporting else None
        return super()._lives(held, reporting) or (launcher is not None and launcher.status() != psutil.STATUS_ZOMBIE)


if __name__ == "__main__":
    sys.exit(dispatcher.main(make=ForkingDispatcher))
