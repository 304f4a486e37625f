"""What a launcher that started here now would find of Ray; only then are jobs claimed, and `/readyz` says the same.

A head that answers is not enough. Ray's driver looks for a node of the cluster among the processes of its own
machine, or container, and talks to it through sockets and shared memory. So `workers.executors.probe` joins and
leaves in a launcher's place, when the head begins to answer and now and then; in between its port is asked.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time

from annotation_api.db.tables import RayState
from annotation_api.worker_settings import ExecutorKind, WorkerSettings
from workers.executors.head import answers
from workers.executors.inspection import ANSWER_SECONDS
from workers.settings import launcher_environment
from workers.stage.environment import is_secret

PROBE = (sys.executable, "-m", "workers.executors.probe")
# Ray itself looks for a node for 60; then one machine that is silent must not hide the others.
PATIENCE_SECONDS = 90.0 + ANSWER_SECONDS
AGAIN_SECONDS = 60.0  # until a proof is old
RETRY_SECONDS = 5.0  # after a probe that did not get in


class RayWatch:
    """`look` at every round of the dispatcher.

    `why` is what keeps launchers out, empty while that is not known; `head_lost` says that no head answers at all;
    `left_out` are machines that get no jobs, each with the reason.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._address = None if settings.executor is ExecutorKind.PROCESS else settings.ray_address
        self._alone = RayState.UNUSED if settings.executor is ExecutorKind.PROCESS else RayState.LOCAL
        self._probe: subprocess.Popen[str] | None = None
        self._proven, self._next, self._began = False, -math.inf, 0.0
        self.why, self.head_lost, self.left_out = "", False, tuple[str, ...]()
        self._home = str(settings.home.resolve())

    def look(self) -> RayState:
        """What is known now; never waits for a probe."""
        if self._address is None:
            return self._alone
        self.head_lost = not answers(self._address)
        if self.head_lost:
            self._forget(f"no Ray head answers at {self._address}")
        elif self._probe:
            self._ask(self._probe)
        elif time.monotonic() >= self._next:
            self._start(self._address)
        return RayState.UP if self._proven else RayState.DOWN

    def end(self) -> None:
        """End a probe that is on its way."""
        if self._probe:
            self._probe.kill()
            self._probe.communicate()
            self._probe = None

    def _forget(self, why: str) -> None:
        """What was known no longer holds; the next head that answers is looked at anew."""
        self.end()
        self._proven, self._next, self.why = False, -math.inf, why

    def _start(self, address: str) -> None:
        told = launcher_environment(address)
        self._probe = subprocess.Popen(
            [*PROBE, address, self._home],
            env={name: value for name, value in told.items() if not is_secret(name)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._began = time.monotonic()

    def _ask(self, probe: subprocess.Popen[str]) -> None:
        """Take the probe's answer once it is there."""
        if time.monotonic() - self._began > PATIENCE_SECONDS:
            probe.kill()
            probe.wait()
        if probe.poll() is None:
            return
        said = probe.communicate()[0].strip()
        self.left_out = tuple(said.splitlines()) if probe.returncode == 0 else ()
        self._probe, self._proven = None, probe.returncode == 0
        self._next = time.monotonic() + (AGAIN_SECONDS if self._proven else RETRY_SECONDS)
        self.why = (
            ""
            if self._proven
            else said.replace("\n", "; ") or f"a probe that joined it ended with code {probe.returncode}"
        )
