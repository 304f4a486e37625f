"""The only `ray.remote`: a thin shell round `work.perform` in a process of its own.

The stage runs in the actor's one default thread; the concurrency group `io` answers meanwhile: the
launcher drains what the stage reported and passes a cancel or a pause on. The actor sees files and
numbers, never the database.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray

from annotation_api import logs
from workers.executors.meeting import held_port, interface_of, obstacle, speak_through
from workers.stage.work import Batch, BufferedReporter, Rank, StageOutcome, StageWork, perform


@dataclass(frozen=True)
class ActorPlace:
    """Where an actor runs; it holds `port` until the stage begins."""

    host: str
    pid: int
    address: str
    port: int
    node: str = ""  # Ray's id of the machine
    interface: str = ""  # the one with `address`; empty where none has

    def __str__(self) -> str:
        return f"{self.host} ({self.address}{f' on {self.interface}' if self.interface else ''})"


class StageShell:
    """The actor. It is never restarted: what happens after its death is the launcher's business."""

    def __init__(self, work: StageWork) -> None:
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not asked for is not used
        self._work, self._reporter, self._port = work, BufferedReporter(), held_port()

    def run(self, rank: Rank | None = None) -> StageOutcome:
        """The stage's outcome; with `rank`, as one of several processes that train together."""
        os.environ.update(self._work.environment(rank.local_world if rank else 1))
        if rank:
            os.environ.update(rank.environment())
            if rank.local_world < rank.world:
                speak_through(interface_of(own_address()))
        self._port.close()
        if self._work.log:
            _speak_into(self._work.log)
        logs.start("stage", style="text", **self._work.about)
        return perform(self._work, self._reporter)

    @ray.method(concurrency_group="io")
    def drain(self) -> Batch:
        return self._reporter.take()

    @ray.method(concurrency_group="io")
    def cancel(self) -> None:
        self._reporter.cancel.set()

    @ray.method(concurrency_group="io")
    def pause(self) -> None:
        self._reporter.pause.set()

    @ray.method(concurrency_group="io")
    def where(self) -> ActorPlace:
        """The first answer means that the actor has been placed."""
        address, node = own_address(), ray.get_runtime_context().get_node_id()
        port = int(self._port.getsockname()[1])
        return ActorPlace(platform.node(), os.getpid(), address, port, node, interface_of(address))

    @ray.method(concurrency_group="io")
    def obstacle(self, first: ActorPlace) -> str:
        """Why this process does not reach the first one, where all meet; empty where it does."""
        return obstacle(first.address, first.port)


def own_address() -> str:
    """By which Ray's other machines know this one."""
    return str(cast(Any, ray).util.get_node_ip_address())


def _speak_into(path: Path) -> None:
    """What this process says goes straight into the attempt's log: by way of Ray the last words are late or lost."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())


StageActor: Any = cast(Any, ray.remote)(max_restarts=0, concurrency_groups={"io": 1})(StageShell)
