"""The machines of a Ray cluster: what each has at this moment, which have left, and what a job waits for on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import ray

from alignment.shared.sentence import Sentence, counted
from workers.executors.head import answers


@dataclass(frozen=True)
class Machine:
    """One that is in the cluster."""

    node: str  # Ray's id: a machine that comes back has another one
    name: str
    gpus: float = 0.0
    free_gpus: float = 0.0
    free_cores: float = 0.0

    def room_for(self, share: float) -> bool:
        """Whether a process with this share of a GPU could start now."""
        return self.free_gpus >= share and self.free_cores >= 1


@dataclass(frozen=True)
class Machines:
    """All of a cluster; `left_out` are those that are there and that a job cannot use, each with the reason."""

    there: tuple[Machine, ...]
    left: tuple[str, ...] = ()  # addresses of those that have left it and are not back
    left_out: tuple[tuple[str, str], ...] = ()  # name -> why

    @property
    def gpus(self) -> float:
        return sum(machine.gpus for machine in self.there)

    def fit(self, wanted: float) -> bool:
        """Whether they could ever give that many: a share from one GPU, or whole ones from any machines."""
        if wanted <= 1:
            return wanted <= max((machine.gpus for machine in self.there), default=0.0)
        return wanted <= sum(int(machine.gpus) for machine in self.there)

    def room_for(self, wanted: float) -> bool:
        """Whether they could give that many now, with a core beside each."""
        if wanted <= 1:
            return any(machine.room_for(wanted) for machine in self.there)
        return wanted <= sum(int(min(machine.free_gpus, machine.free_cores)) for machine in self.there)

    def may_grow(self) -> bool:
        """Whether what they lack may come by itself: a machine has left or is to be mended, or none has a GPU now.

        No GPU at all is what a cluster looks like that was scaled to zero, or whose head was started anew.
        """
        return bool(self.left or self.left_out) or not self.gpus

    def a_core(self) -> Sentence:
        """What a job without GPUs waits for."""
        return self._beside(Sentence("waits-for-a-core", "a free core"))

    def busy(self, wanted: float) -> Sentence:
        """What a job waits for that they could serve, but not now."""
        free = f"{sum(machine.free_gpus for machine in self.there):g}"
        english = "%(wanted)s on machines with %(free)s free of %(all)s"
        said = Sentence("waits-for-busy", english, wanted=count(wanted), free=free, all=f"{self.gpus:g}")
        return self._beside(said)

    def absent(self, wanted: float) -> Sentence:
        """What a job waits for that they can serve only once there are more of them."""
        english = "%(wanted)s, and the cluster has %(now)s now"
        now = f"{self.gpus:g}" if self.gpus else Sentence("no-gpu", "none")
        return self._beside(Sentence("waits-for-absent", english, wanted=count(wanted), now=now))

    def lack(self, wanted: float) -> Sentence:
        """Why they never serve it."""
        largest = f"{max((machine.gpus for machine in self.there), default=0.0):g}"
        english = "%(wanted)s, and the cluster's machines have %(all)s, the largest of which has %(largest)s"
        return Sentence("waits-for-more", english, wanted=count(wanted), all=f"{self.gpus:g}", largest=largest)

    def _beside(self, said: Sentence) -> Sentence:
        """Also who is missing, and who is there in vain."""
        if self.left:
            said = Sentence("left-the-cluster", "%(said)s; %(left)s left it", said=said, left=", ".join(self.left))
        for name, why in self.left_out:
            said = Sentence("left-out-beside", "%(said)s; %(name)s %(why)s", said=said, name=name, why=why)
        return said


def machines(left_out: Mapping[str, str] | None = None) -> Machines:
    """What the cluster that this process has joined consists of. `left_out`: Ray's id of a machine -> why."""
    unfit = left_out or {}
    nodes = cast(Any, ray).nodes()
    free = cast(Any, ray)._private.state.available_resources_per_node()
    alive = [node for node in nodes if node["Alive"]]
    there = tuple(_machine(node, free.get(node["NodeID"], {})) for node in alive if node["NodeID"] not in unfit)
    back = {node["NodeManagerAddress"] for node in alive}
    left = sorted({node["NodeManagerAddress"] for node in nodes} - back)
    why = sorted((name_of(node), unfit[node["NodeID"]]) for node in alive if node["NodeID"] in unfit)
    return Machines(there, tuple(left), tuple(why))


def gone(nodes: Collection[str]) -> list[str]:
    """Which of these machines have left: Ray takes some 15 s to notice, their own port says so at once."""
    found = [node for node in cast(Any, ray).nodes() if node["NodeID"] in nodes]
    return sorted(name_of(node) for node in found if not (node["Alive"] and _answers(node)))


def name_of(node: Mapping[str, Any]) -> str:
    """What people call it, and where it is: several may have one name."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _answers(node: Mapping[str, Any]) -> bool:
    return answers(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")


def _machine(node: Mapping[str, Any], free: Mapping[str, float]) -> Machine:
    gpus = node["Resources"].get("GPU", 0.0)
    return Machine(node["NodeID"], name_of(node), gpus, free.get("GPU", 0.0), free.get("CPU", 0.0))


def count(wanted: float) -> Sentence:
    if wanted < 1:
        return Sentence("share-of-a-gpu", "%(n)s GPU", n=f"{wanted:g}")
    return counted("gpus", "%(n)s GPU", "%(n)s GPUs", n=wanted)
