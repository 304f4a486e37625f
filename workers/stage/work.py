"""A stage in a process of its own, whatever started that process: what it is given, and what it gives back.

Loads neither Ray nor the database: a stage sees files and numbers.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alignment.shared.config import CONFIGS, Stage
from alignment.shared.events import Paused, Reporter, SavedCheckpoint, StageProgress, StageResult
from alignment.shared.sentence import Sentence
from workers.stage.environment import forget_secrets
from workers.stage.faults import Fault, fault_of

Runner = Callable[[Stage, dict[str, Any], dict[str, Any], Path, Reporter], StageResult]
StageOutcome = StageResult | Fault | None  # None: it saved a checkpoint and stopped, as it was asked to

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
    "TOKENIZERS_PARALLELISM": "false",  # no fork after threads
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait starve the service beside them
}


@dataclass(frozen=True)
class StageWork:
    """One attempt as its stage sees it. `inputs` are those of `alignment.shared.stages.INPUTS`."""

    stage: Stage
    config: dict[str, Any]
    inputs: dict[str, Any]
    out_dir: Path
    run: Runner
    about: dict[str, Any] = field(default_factory=dict)  # job and epoch, for its log
    log: Path | None = None  # where a process that Ray started writes what it says
    threads: int | None = None  # None: the cores of the stage's machine, shared by its processes there
    gpus: float = 0.0  # below 1: the share of a GPU's memory that it may take

    @property
    def paths(self) -> tuple[Path, ...]:
        """What the machine that runs it must see."""
        given = [value for one in self.inputs.values() for value in (one.values() if isinstance(one, dict) else [one])]
        return (self.out_dir, *(value for value in given if isinstance(value, Path)))

    def environment(self, processes: int = 1) -> dict[str, str]:
        """What the stage's process must have before it loads a model library; `processes` share its machine."""
        return QUIET | {"OMP_NUM_THREADS": str(self.threads or max(1, cores() // processes))} | self._memory()

    def _memory(self) -> dict[str, str]:
        """A share of a GPU is a share of its memory: what would take more is told so, not its neighbour."""
        if not 0 < self.gpus < 1:
            return {}
        given = os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF")
        return {"PYTORCH_ALLOC_CONF": ",".join(filter(None, [given, f"per_process_memory_fraction:{self.gpus:g}"]))}


@dataclass(frozen=True)
class Rank:
    """One of the processes that train a model together; torch.distributed reads its environment."""

    rank: int
    world: int
    local_world: int  # of them on its machine
    address: str  # of the first one, where they meet
    port: int

    def environment(self) -> dict[str, str]:
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            # The number of its GPU among those that it sees: Ray shows each of them its own alone.
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


@dataclass
class Batch:
    """What a stage reported since the last time it was asked, in order."""

    progress: list[StageProgress] = field(default_factory=list)
    samples: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)
    evaluations: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)
    notes: list[tuple[str, Sentence]] = field(default_factory=list)  # (level, message)
    checkpoints: list[SavedCheckpoint] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.progress or self.samples or self.evaluations or self.notes or self.checkpoints)

    def __add__(self, other: Batch) -> Batch:
        return Batch(
            self.progress + other.progress,
            self.samples + other.samples,
            self.evaluations + other.evaluations,
            self.notes + other.notes,
            self.checkpoints + other.checkpoints,
        )


class BufferedReporter:
    """The stage's Reporter: keeps everything until the launcher comes for it."""

    def __init__(self) -> None:
        self._lock, self._batch = threading.Lock(), Batch()
        self.cancel, self.pause = threading.Event(), threading.Event()  # set: asked for

    def progress(self, progress: StageProgress) -> None:
        with self._lock:
            self._batch.progress.append(progress)

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self._batch.samples.append((step, [dict(row) for row in rows]))

    def evaluation(self, update: int, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self._batch.evaluations.append((update, [dict(row) for row in rows]))

    def note(self, message: Sentence, *, level: str = "info") -> None:
        with self._lock:
            self._batch.notes.append((level, message))

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        with self._lock:
            self._batch.checkpoints.append(saved)

    def cancelled(self) -> bool:
        return self.cancel.is_set()

    def paused(self) -> bool:
        return self.pause.is_set()

    def take(self) -> Batch:
        """Everything since the last call."""
        with self._lock:
            taken, self._batch = self._batch, Batch()
        return taken


def perform(work: StageWork, reporter: Reporter) -> StageOutcome:
    """Run the stage to its end; whatever it raises comes back named."""
    forget_secrets()
    try:
        return work.run(work.stage, work.config, work.inputs, work.out_dir, reporter)
    except Paused:
        return None
    except Exception as error:
        return fault_of(error, CONFIGS[work.stage])


def importable(run: Runner) -> Runner:
    """The same function under the name by which another process finds it: what runs as `python -m x` is x there."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if run.__module__ != "__main__" or spec is None:
        return run
    found: Runner = getattr(importlib.import_module(spec.name), run.__name__)
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
