"""Ray: where it is, what a job gets there, and "waiting for a GPU" against "can never fit".

Without an address every attempt starts a Ray of its own, which ends with the launcher and shows no
dashboard. Ray cannot be told to listen on the loopback address alone, so a local one asks everybody
for a token that only this attempt knows. What Ray reads before it is imported, that token too, stands
in `settings.launcher_environment`.

With an address, launchers must run on a machine of that cluster (a Ray driver needs a raylet beside
it), and all its machines must see RANKLOOP_HOME and the model folders under the same paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray.util import placement_group

from alignment.shared.events import ErrorKind, StageError

OBJECT_STORE_BYTES = 80 * 2**20  # events and settings only; models and data travel as files


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a cluster: of each machine that has some now, and how many are free on all."""

    machines: tuple[float, ...]
    free: float
    lost: bool = False  # a machine has left, and with it perhaps GPUs

    @property
    def total(self) -> float:
        return sum(self.machines)

    @property
    def none(self) -> bool:
        """There is none and, as far as Ray knows, there never was: the CPU must do."""
        return not self.machines and not self.lost

    def fit(self, wanted: float) -> bool:
        """Whether the machines could ever give that many: a share from one GPU, or whole ones from any machines."""
        if wanted <= 1:
            return wanted <= max(self.machines, default=0.0)
        return wanted <= sum(int(count) for count in self.machines)

    def wait_for(self, wanted: float) -> str:
        """What a job that they cannot serve now waits for."""
        return f"{_count(wanted)} on machines with {self.free:g} free of {self.total:g}"

    def lack(self, wanted: float) -> str:
        """Why they never serve it."""
        size = f", the largest of which has {max(self.machines):g}" if self.machines else ""
        return f"{_count(wanted)}, and the cluster's machines have {self.total:g}{size}"


def connect(address: str | None, temp_dir: Path, processes: int) -> None:
    """Join the cluster at `address`, or start a local Ray for so many processes that dies with this one.

    Raises StageError(CLUSTER) when there is none to be had.
    """
    try:
        if address:
            ray.init(address=address, log_to_driver=True, configure_logging=False)
        else:
            _start_local(temp_dir, processes)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise StageError(
            ErrorKind.CLUSTER, f"Cannot use {where}: {error}", "Check RANKLOOP_RAY_ADDRESS and that the head runs."
        ) from error


def _start_local(temp_dir: Path, processes: int) -> None:
    temp_dir.parent.mkdir(mode=0o700, exist_ok=True)
    ray.init(
        address="local",  # never the cluster that a dead head left behind in the environment
        num_cpus=processes,  # worker processes: the stage's; they still use every core
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=True,
        _temp_dir=str(temp_dir),
    )


def gpus() -> Gpus:
    """What the cluster has at this moment."""
    nodes = cast(Any, ray).nodes()
    counts = [node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]]
    free = cast(Any, ray).available_resources().get("GPU", 0.0)
    return Gpus(tuple(filter(None, counts)), free, lost=len(counts) < len(nodes))


def reserve(wanted: float) -> Any:
    """A placement group with a bundle for each process of a job: one GPU, or a share of one, and a core."""
    share = {"GPU": min(wanted, 1.0)} if wanted else {}
    return placement_group([{"CPU": 1.0} | share] * processes(wanted), strategy="PACK")


def processes(wanted: float) -> int:
    """One for each GPU; one for a share of a GPU and for none."""
    return max(1, int(wanted))


def _count(wanted: float) -> str:
    return f"{wanted:g} {'GPU' if wanted <= 1 else 'GPUs'}"
