"""The room for a job in a Ray cluster: asked for, waited for, and looked at before anything is started in it.

What the cluster lacks is asked of Ray all the same, as a placement group that stays pending: that is how an autoscaler
hears of it. A machine that does not see the job's files or has other code is left out by name, for a while.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from alignment.shared.sentence import Sentence
from annotation_api.db.homes import mark_of
from annotation_api.db.jobs.machine import WAITING_GPU
from annotation_api.db.kinds import ErrorKind
from workers.executors import inspection
from workers.executors.base import Waiting
from workers.executors.inspection import ANSWER_SECONDS
from workers.executors.machines import machines
from workers.stage.faults import AttemptError

LEFT_OUT_SECONDS = 60.0  # then a machine is looked at again
SILENT = f"starts no process of Python within {ANSWER_SECONDS:.0f} s"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Needs:
    """What a machine must have to run a stage."""

    home: Path
    paths: tuple[Path, ...] = ()

    def ask(self, node: str) -> Any:
        """The question to a machine, under way."""
        cast(Any, ray).cloudpickle.register_pickle_by_value(inspection)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        remote: Any = cast(Any, ray.remote)(num_cpus=0, max_retries=0, scheduling_strategy=there)(inspection.refusal)
        paths = [str(path) for path in self.paths]
        return remote.remote(str(self.home), mark_of(self.home), paths, inspection.versions())


class Placement:
    """A bundle for each process of a job: one GPU, or a share of one, and a core. `needs`: None asks nothing."""

    def __init__(self, gpus: float, infeasible_seconds: float, needs: Needs | None) -> None:
        self._gpus, self._infeasible_seconds, self._needs = gpus, infeasible_seconds, needs
        self._unfit_since: float | None = None
        self._left_out: dict[str, str] = {}
        self._left_out_at = 0.0
        self._asked: dict[str, Any] = {}
        self._again: dict[str, Any] = {}  # asked of those that were left out
        self._asked_at = 0.0
        self.group = self._reserve()

    def wait(self, patience: float) -> Waiting | None:
        """None once the room is there and each of its machines is fit. Raises AttemptError(INFEASIBLE)."""
        if self._needs and self._left_out:
            self._look_again(self._needs)
        if not self.group.wait(patience):
            return self._why()
        return self._look(self._needs, patience) if self._needs else None

    # ------------------------------------------------------------ is it fit

    def _look(self, needs: Needs, patience: float) -> Waiting | None:
        """Ask every machine of the group once; leave out those that are not fit. Ray moves it when one is lost."""
        given = set(placement_group_table(self.group)["bundles_to_node_id"].values())
        if new := given - self._asked.keys():
            self._asked, self._asked_at = self._asked | {node: needs.ask(node) for node in new}, time.monotonic()
        asked = {node: self._asked[node] for node in given}
        _, silent = ray.wait([*asked.values()], num_returns=len(asked), timeout=patience)
        if silent and time.monotonic() - self._asked_at < ANSWER_SECONDS:
            return Waiting("loading")
        if not (unfit := told(asked, patience=0.0)):
            return None
        self._reserve_anew(self._left_out | unfit)
        return Waiting("loading")

    def _look_again(self, needs: Needs) -> None:
        """Ask those that were left out once more, now and then: one that was mended may have the job."""
        if not self._again and time.monotonic() - self._left_out_at > LEFT_OUT_SECONDS:
            self._again, self._left_out_at = {node: needs.ask(node) for node in self._left_out}, time.monotonic()
        if not self._again or ray.wait([*self._again.values()], num_returns=len(self._again), timeout=0)[1]:
            return
        still, self._again = told(self._again, patience=0.0), {}
        if still.keys() != self._left_out.keys():
            self._reserve_anew(still)

    def _reserve_anew(self, left_out: dict[str, str]) -> None:
        for node, why in left_out.items():
            log.warning("Machine %s is left out: it %s.", node, why)
        remove_placement_group(self.group)
        self._left_out, self._left_out_at, self._asked = left_out, time.monotonic(), {}
        self.group = self._reserve()

    def _reserve(self) -> Any:
        share = {"GPU": min(self._gpus, 1.0)} if self._gpus else {}
        bundles = [{"CPU": 1.0} | share] * processes(self._gpus)
        if not self._left_out:
            return placement_group(bundles, strategy="PACK")
        elsewhere = {"ray.io/node-id": f"!in({','.join(sorted(self._left_out))})"}
        return placement_group(bundles, strategy="PACK", bundle_label_selector=[elsewhere] * len(bundles))

    # ------------------------------------------------------------ what it waits for

    def _why(self) -> Waiting:
        """What the group waits for. Raises AttemptError(INFEASIBLE) once it never came for long enough."""
        there = machines(self._left_out)
        if there.fit(self._gpus) or there.may_grow():
            self._unfit_since = None
        if there.room_for(self._gpus):  # it is on its way
            return Waiting("loading")
        if not self._gpus:
            return Waiting("loading", there.a_core())
        if there.fit(self._gpus):
            return Waiting(WAITING_GPU, there.busy(self._gpus))
        if there.may_grow():
            return Waiting(WAITING_GPU, there.absent(self._gpus))
        lack, now = there.lack(self._gpus), time.monotonic()
        self._unfit_since = self._unfit_since or now
        if now - self._unfit_since >= self._infeasible_seconds:
            cause = Sentence("job-asks-for", "The job asks for %(lack)s.", lack=lack)
            raise AttemptError(
                ErrorKind.INFEASIBLE,
                cause,
                Sentence("fewer-or-machine", "Ask for fewer, or add a machine to the cluster."),
            )
        return Waiting("infeasible", lack)


def processes(gpus: float) -> int:
    """One for each GPU; one for a share of a GPU and for none."""
    return max(1, int(gpus))


def told(asked: dict[str, Any], patience: float = ANSWER_SECONDS) -> dict[str, str]:
    """Which of the machines that were asked are not fit, and why; `asked`: Ray's id of each -> the question."""
    answered, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=patience)
    answers = {node: _answer(question) if question in answered else SILENT for node, question in asked.items()}
    return {node: why for node, why in answers.items() if why}


def _answer(asked: Any) -> str:
    try:
        return str(ray.get(asked))
    except RayError as error:
        return f"does not answer: {str(error).strip().splitlines()[-1]}"
