"""Ray: where it is, and joining it. What a job gets there is `placement`'s question.

Without an address every attempt starts a Ray of its own, which ends with the launcher and shows no
dashboard. Ray cannot be told to listen on the loopback address alone, so a local one asks everybody
for a token that only this attempt knows. What Ray reads before it is imported, that token too, stands
in `settings.launcher_environment`.

With an address, launchers must run on a machine of that cluster (a Ray driver needs a raylet beside
it), and all its machines must see RANKLOOP_HOME and the model folders under the same paths (`inspection` asks them).
"""

from __future__ import annotations

from pathlib import Path

import ray

from alignment.shared.sentence import Sentence
from annotation_api.db.kinds import ErrorKind
from workers.executors.head import resolved
from workers.stage.faults import AttemptError

OBJECT_STORE_BYTES = 80 * 2**20  # events and settings only; models and data travel as files


def connect(address: str | None, temp_dir: Path, processes: int) -> None:
    """Join the cluster at `address`, or start a local Ray for so many processes that dies with this one.

    Raises AttemptError(CLUSTER) when there is none to be had.
    """
    try:
        if address:
            ray.init(address=resolved(address), log_to_driver=True, configure_logging=False)
        else:
            _start_local(temp_dir, processes)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise AttemptError(
            ErrorKind.CLUSTER,
            Sentence("cluster-unusable", "Cannot use %(where)s: %(error)s", where=where, error=error),
            Sentence("check-ray-address", "Check RANKLOOP_RAY_ADDRESS and that the head runs."),
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
