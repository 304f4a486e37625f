"""Ray: where it is, whether a job fits, and "waiting for a GPU" against "can never fit".

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

from alignment.events import ErrorKind, StageError

OBJECT_STORE_BYTES = 80 * 2**20  # events and settings only; models and data travel as files


class NeverFits(StageError):
    """No machine of the cluster has the GPUs that a job asks for."""


@dataclass(frozen=True)
class Placement:
    """What an attempt is given: `gpus` of Ray, and whether they are free now."""

    gpus: float
    waits: bool = False

    @property
    def device(self) -> str:
        return "gpu" if self.gpus else "cpu"


def connect(address: str | None, temp_dir: Path) -> None:
    """Join the cluster at `address`, or start a local Ray that dies with this process.

    Raises StageError(CLUSTER) when there is none to be had.
    """
    try:
        if address:
            ray.init(address=address, log_to_driver=True, configure_logging=False)
        else:
            _start_local(temp_dir)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise StageError(
            ErrorKind.CLUSTER, f"Cannot use {where}: {error}", "Check RANKLOOP_RAY_ADDRESS and that the head runs."
        ) from error


def _start_local(temp_dir: Path) -> None:
    temp_dir.parent.mkdir(mode=0o700, exist_ok=True)
    ray.init(
        address="local",  # never the cluster that a dead head left behind in the environment
        num_cpus=1,  # one worker process: the stage's; it still uses every core
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=True,
        _temp_dir=str(temp_dir),
    )


def place(wanted: float) -> Placement:
    """How a job that asks for `wanted` GPUs runs here; on the CPU where the cluster has none.

    Raises NeverFits when no machine of the cluster has that many: it would wait for ever.
    """
    sizes = [node["Resources"].get("GPU", 0.0) for node in cast(Any, ray).nodes() if node["Alive"]]
    largest = max(sizes, default=0.0)
    if not wanted or not largest:
        return Placement(gpus=0.0)
    if wanted > largest:
        raise NeverFits(
            ErrorKind.INFEASIBLE,
            f"The job asks for {wanted:g} GPUs on one machine, and the largest here has {largest:g}.",
            "Ask for fewer, or add a machine to the cluster.",
        )
    return Placement(gpus=wanted, waits=cast(Any, ray).available_resources().get("GPU", 0.0) < wanted)
