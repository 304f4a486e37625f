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

from alignment.shared.events import Paused, StageResult
from alignment.shared.sentence import Sentence
from annotation_api.db.jobs.records import Wish
from annotation_api.db.kinds import ErrorKind
from workers.executors import cluster, head
from workers.executors.actors import ActorPlace, StageActor
from workers.executors.base import Waiting
from workers.executors.machines import gone, machines
from workers.executors.memory import OutOfMemoryWatch
from workers.executors.placement import Needs, Placement, processes
from workers.stage.faults import AGAIN_OR_LOG, SMALLER, Fault, Faulted, fault_of, first_line
from workers.stage.work import Batch, Rank, StageOutcome, StageWork

HEAD_SECONDS = 2.5  # without an answer of the head; Ray ends this process after 5
SETTLE_SECONDS = 2.0  # for the cause to show, when one process ends because another did
NODE_DIED = "node has died"  # Ray's words
MEMORY_MONITOR = "running low on memory"  # Ray's words when it ended the actor
GOES_ON = Sentence("goes-on-from-checkpoint", "The job goes on by itself, from its newest checkpoint.")
OPEN = Sentence(
    "open-machines-ray",
    "The job is tried again by itself. Open the machines to one another on every port, or start "
    "Ray on each with the --node-ip-address of an interface that the others reach.",
)

# Of the faults of several processes, which is told: a death, then what one of them raised, then what the loss of its
# peers made of the others.
WEIGHT = {ErrorKind.CRASH: 0, ErrorKind.CLUSTER: 2, ErrorKind.INTERNAL: 3}

log = logging.getLogger(__name__)


class RayExecutor:
    """See `executors.Executor`. Without an address it starts a Ray of its own in `temp_dir`.

    `home`: what each machine of a cluster must see; unset: they are not asked. `allow_cpu`: of all jobs.
    """

    device = "cpu"

    def __init__(
        self,
        address: str | None,
        temp_dir: Path,
        infeasible_seconds: float,
        *,
        home: Path | None = None,
        allow_cpu: bool = False,
    ) -> None:
        self._address, self._temp_dir, self._infeasible_seconds = address, temp_dir, infeasible_seconds
        self._home, self._allow_cpu = home, allow_cpu
        self._gpus = 0.0
        self._head_seen = time.monotonic()
        self._actors: list[Any] = []
        self._at: list[ActorPlace] = []
        self._places: list[Any] = []  # asked of the actors
        self._running: dict[Any, int] = {}  # a call that is not over -> its rank
        self._outcomes: dict[int, StageOutcome] = {}
        self._drain: Any = None  # asked of the first actor and not answered yet
        self._memory = OutOfMemoryWatch()

    def start(self, work: StageWork, gpus: float, *, allow_cpu: bool = False) -> None:
        cluster.connect(self._address, self._temp_dir, processes(gpus))
        log.info("Ray is there.")
        self._work = work
        may_use_cpu = self._address is None or self._allow_cpu or allow_cpu  # a local Ray is all there is
        self._gpus = 0.0 if may_use_cpu and not machines().gpus else gpus
        self.device = "gpu" if self._gpus else "cpu"
        needs = Needs(self._home, work.paths) if self._home and self._address else None
        self._placement = Placement(self._gpus, self._infeasible_seconds, needs)

    def placed(self, patience: float) -> Waiting | None:
        self._watch_head()
        if not self._actors:
            if (waiting := self._placement.wait(patience)) is not None:
                return waiting
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

    def _make_actors(self) -> None:
        for bundle in range(processes(self._gpus)):
            own = self._work.out_dir.parent / f"rank-{bundle}"  # nobody's: what only the first one may write
            work = replace(self._work, out_dir=own) if bundle else self._work
            place = PlacementGroupSchedulingStrategy(self._placement.group, bundle)
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
        self._at = places
        self._refuse_walls(places)
        ranks = ranks_of(places) if len(places) > 1 else [None]
        self._running = {
            actor.run.remote(rank): number for number, (actor, rank) in enumerate(zip(self._actors, ranks, strict=True))
        }

    def _refuse_walls(self, places: list[ActorPlace]) -> None:
        """Raise Faulted where a machine does not reach the first one, at which all processes meet."""
        first, *others = places
        asked = {
            place: actor.obstacle.remote(first)
            for place, actor in zip(others, self._actors[1:], strict=True)
            if place.address != first.address
        }
        for place, question in asked.items():
            if why := ray.get(question):
                cause = Sentence(
                    "place-unreachable",
                    "%(place)s does not reach %(first)s at port %(port)s: %(why)s.",
                    place=place,
                    first=first,
                    port=first.port,
                    why=why,
                )
                raise Faulted(Fault(ErrorKind.CLUSTER, cause, OPEN))

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
        """What ended the stage: a death, or else what one process named, before what the others made of it."""
        if len(self._actors) > 1 and any(isinstance(outcome, Fault) for outcome in self._outcomes.values()):
            calls = list(self._running)
            for call in ray.wait(calls, num_returns=len(calls), timeout=SETTLE_SECONDS)[0] if calls else ():
                self._outcomes[self._running.pop(call)] = self._outcome(call)
        faults = [self._outcomes[rank] for rank in sorted(self._outcomes)]
        found = [fault for fault in faults if isinstance(fault, Fault)]
        return min(found, key=lambda fault: WEIGHT.get(fault.kind, 1), default=None)

    def _named(self, error: ray_errors.RayError) -> Fault:
        if isinstance(error, ray_errors.RayTaskError):
            return fault_of(error)
        struck = platform.node() in [place.host for place in self._at] and self._memory.struck()
        if struck or isinstance(error, ray_errors.OutOfMemoryError) or MEMORY_MONITOR in str(error):
            cause = Sentence("machine-out-of-memory", "The system ended the stage: the machine ran out of memory.")
            return Fault(ErrorKind.OUT_OF_MEMORY, cause, SMALLER, str(error))
        if isinstance(error, ray_errors.RayActorError):
            if NODE_DIED not in str(error) and not self._head_stays():
                return self._head_lost()
            lost = gone({place.node for place in self._at})
            if lost or NODE_DIED in str(error):
                cause = Sentence(
                    "machine-left",
                    "The machine that ran the stage left the cluster: %(lost)s.",
                    lost=", ".join(lost) or "Ray says so",
                )
                return Fault(ErrorKind.CLUSTER, cause, GOES_ON, str(error))
            return Fault(
                ErrorKind.CRASH,
                Sentence("stage-process-died", "The process that ran the stage died."),
                AGAIN_OR_LOG,
                str(error),
            )
        return Fault(
            ErrorKind.CLUSTER,
            Sentence("ray-failed", "Ray failed: %(error)s", error=first_line(error)),
            Sentence("check-cluster", "Check the Ray cluster."),
            str(error),
        )

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
        cause = Sentence(
            "head-silent", "The head of the Ray cluster at %(address)s no longer answers.", address=self._address
        )
        return Fault(
            ErrorKind.CLUSTER, cause, Sentence("goes-on-with-head", "The job goes on by itself when the head is back.")
        )


def ranks_of(places: list[ActorPlace]) -> list[Rank]:
    """The part of each actor; they meet where the first one is."""
    sizes, first = Counter(place.address for place in places), places[0]
    return [
        Rank(number, len(places), sizes[place.address], first.address, first.port)
        for number, place in enumerate(places)
    ]
