"""A stage in actors of Ray: one for each GPU of the job, held together by a placement group.

The first actor reports, writes the files and returns the result; the others only train with it.
"""

from __future__ import annotations

import logging
import platform
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import exceptions as ray_errors
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from alignment.shared.events import ErrorKind, Paused, StageError, StageResult
from annotation_api.db.jobs.machine import WAITING_GPU
from annotation_api.db.jobs.records import Wish
from workers.executors import cluster, head
from workers.executors.actors import ActorPlace, StageActor
from workers.executors.base import Waiting
from workers.executors.memory import OutOfMemoryWatch
from workers.stage.faults import SMALLER, Fault, Faulted, fault_of, first_line
from workers.stage.work import Batch, Rank, StageOutcome, StageWork

HEAD_SECONDS = 2.5  # without an answer of the head; Ray ends this process after 5
SETTLE_SECONDS = 2.0  # for the cause to show, when one process ends because another did
NODE_DIED = "node has died"  # Ray's words
MEMORY_MONITOR = "running low on memory"  # Ray's words when it ended the actor
AGAIN = "It is tried again by itself; if it keeps dying, look at the end of its log."

log = logging.getLogger(__name__)


class RayExecutor:
    """See `executors.Executor`. Without an address it starts a Ray of its own in `temp_dir`."""

    device = "cpu"

    def __init__(self, address: str | None, temp_dir: Path, infeasible_seconds: float) -> None:
        self._address, self._temp_dir, self._infeasible_seconds = address, temp_dir, infeasible_seconds
        self._gpus = 0.0
        self._unfit_since: float | None = None
        self._head_seen = time.monotonic()
        self._actors: list[Any] = []
        self._hosts: list[str] = []
        self._places: list[Any] = []  # asked of the actors
        self._running: dict[Any, int] = {}  # a call that is not over -> its rank
        self._outcomes: dict[int, StageOutcome] = {}
        self._drain: Any = None  # asked of the first actor and not answered yet
        self._memory = OutOfMemoryWatch()

    def start(self, work: StageWork, gpus: float) -> None:
        cluster.connect(self._address, self._temp_dir, cluster.processes(gpus))
        log.info("Ray is there.")
        self._work = work
        self._gpus = 0.0 if cluster.gpus().none else gpus
        self.device = "gpu" if self._gpus else "cpu"
        self._group = cluster.reserve(self._gpus)

    def placed(self, patience: float) -> Waiting | None:
        self._watch_head()
        if not self._actors:
            if not self._group.wait(patience):
                return self._why()
            self._make_actors()
        answered, _ = ray.wait(self._places, num_returns=len(self._places), timeout=patience)
        if len(answered) < len(self._places):
            return Waiting("loading")
        self._run_actors()
        return None

    def over(self, patience: float) -> bool:
        self._watch_head()
        for call in ray.wait(list(self._running), timeout=patience)[0]:
            rank = self._running.pop(call)
            self._outcomes[rank] = self._outcome(call)
        self._memory.check()
        return 0 in self._outcomes or any(isinstance(outcome, Fault) for outcome in self._outcomes.values())

    def take(self, patience: float) -> Batch:
        batch = Batch() if self._drain is None else self._answer(patience)
        if self._drain is None:
            self._drain = self._actors[0].drain.remote()
            batch += self._answer(patience)
        return batch

    def ask(self, wish: Wish) -> None:
        for actor in self._actors:
            (actor.cancel if wish is Wish.CANCEL else actor.pause).remote()

    def result(self) -> StageResult:
        if fault := self._fault():
            raise Faulted(fault)
        outcome = self._outcomes[0]
        if not isinstance(outcome, StageResult):
            raise Paused
        return outcome

    def end(self) -> None:
        ray.shutdown()

    # ------------------------------------------------------------ placement

    def _why(self) -> Waiting:
        """What the placement group waits for. Raises StageError(INFEASIBLE) once it never came for long enough."""
        if not self._gpus:
            return Waiting("loading", "a free core")
        there = cluster.gpus()
        if there.fit(self._gpus):
            self._unfit_since = None
            return Waiting(WAITING_GPU, there.wait_for(self._gpus))
        now = time.monotonic()
        self._unfit_since = self._unfit_since or now
        if now - self._unfit_since >= self._infeasible_seconds:
            cause = f"The job asks for {there.lack(self._gpus)}."
            raise StageError(ErrorKind.INFEASIBLE, cause, "Ask for fewer, or add a machine to the cluster.")
        return Waiting("infeasible", there.lack(self._gpus))

    def _make_actors(self) -> None:
        for bundle in range(cluster.processes(self._gpus)):
            own = self._work.out_dir.parent / f"rank-{bundle}"  # nobody's: what only the first one may write
            work = replace(self._work, out_dir=own) if bundle else self._work
            place = PlacementGroupSchedulingStrategy(self._group, bundle)
            options = {"num_cpus": 1, "num_gpus": min(self._gpus, 1.0), "scheduling_strategy": place}
            self._actors.append(StageActor.options(**options).remote(work))
        self._places = [actor.where.remote() for actor in self._actors]

    def _run_actors(self) -> None:
        try:
            places: list[ActorPlace] = ray.get(self._places)
        except ray_errors.RayError as error:
            raise Faulted(self._named(error)) from error
        for place in places:
            log.info("The stage runs on %s, process %d.", place.host, place.pid)
        self._hosts = [place.host for place in places]
        ranks = ranks_of(places) if len(places) > 1 else [None]
        self._running = {
            actor.run.remote(rank): number for number, (actor, rank) in enumerate(zip(self._actors, ranks, strict=True))
        }

    # ------------------------------------------------------------ what the actors say

    def _answer(self, patience: float) -> Batch:
        """What was asked for with `_drain`, if the actor says it in time."""
        if not ray.wait([self._drain], timeout=patience)[0]:
            return Batch()
        answered, self._drain = self._drain, None
        try:
            batch: Batch = ray.get(answered)
        except ray_errors.RayError as error:  # the stage's own end tells what happened
            log.debug("The stage no longer answers: %s", error)
            return Batch()
        return batch

    def _outcome(self, call: Any) -> StageOutcome:
        try:
            outcome: StageOutcome = ray.get(call)
        except ray_errors.RayError as error:
            return self._named(error)
        return outcome

    def _fault(self) -> Fault | None:
        """What ended the stage: a death before what the others said of it."""
        if len(self._actors) > 1 and any(isinstance(outcome, Fault) for outcome in self._outcomes.values()):
            calls = list(self._running)
            for call in ray.wait(calls, num_returns=len(calls), timeout=SETTLE_SECONDS)[0] if calls else ():
                self._outcomes[self._running.pop(call)] = self._outcome(call)
        faults = [self._outcomes[rank] for rank in sorted(self._outcomes)]
        found = [fault for fault in faults if isinstance(fault, Fault)]
        return next((fault for fault in found if fault.kind is ErrorKind.CRASH), found[0] if found else None)

    def _named(self, error: ray_errors.RayError) -> Fault:
        if isinstance(error, ray_errors.RayTaskError):
            return fault_of(error)
        struck = platform.node() in self._hosts and self._memory.struck()
        if struck or isinstance(error, ray_errors.OutOfMemoryError) or MEMORY_MONITOR in str(error):
            cause = "The system ended the stage: the machine ran out of memory."
            return Fault(ErrorKind.OUT_OF_MEMORY, cause, SMALLER, str(error))
        if isinstance(error, ray_errors.RayActorError):
            if NODE_DIED in str(error):
                return Fault(ErrorKind.CLUSTER, "The machine that ran the stage left the cluster.", AGAIN, str(error))
            if not self._head_stays():
                return self._head_lost()
            return Fault(ErrorKind.CRASH, "The process that ran the stage died.", AGAIN, str(error))
        return Fault(ErrorKind.CLUSTER, f"Ray failed: {first_line(error)}", "Check the Ray cluster.", str(error))

    def _watch_head(self) -> None:
        """Raise Faulted when the cluster's head has been away for so long that Ray is about to end this process."""
        now = time.monotonic()
        if self._address is None or head.answers(self._address):
            self._head_seen = now
        elif now - self._head_seen > HEAD_SECONDS:
            raise Faulted(self._head_lost())

    def _head_stays(self) -> bool:
        """Whether the head outlives an actor: the end of its machine takes both, in any order."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if self._address is None or not head.answers(self._address):
                return self._address is None
            time.sleep(0.2)
        return True

    def _head_lost(self) -> Fault:
        cause = f"The head of the Ray cluster at {self._address} no longer answers."
        return Fault(ErrorKind.CLUSTER, cause, "The job goes on by itself when the head is back.")


def ranks_of(places: list[ActorPlace]) -> list[Rank]:
    """The part of each actor; they meet where the first one is."""
    sizes, first = Counter(place.address for place in places), places[0]
    return [
        Rank(number, len(places), sizes[place.address], first.address, first.port)
        for number, place in enumerate(places)
    ]
