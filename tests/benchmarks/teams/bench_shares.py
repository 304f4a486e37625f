"""What each process of a team holds of a job with `shard_weights`: while models are loaded, after it, and while saving.

    python -m tests.benchmarks.teams.bench_shares [--stages sft ppo] [--processes 1 2 4] [--size medium]

A line of JSON a stage (SFT, PPO) and a number of processes, in MB: `whole_mb`, all weights in float32 (of PPO's
policy); and of each process, in its order, above its imports: `load_mb`, the peak until the models are placed;
`held_mb`, what remains then; and above what it holds when the last step has been taken, `save_mb`. Processes talk by
gloo, so the host's memory is the device's, too. One process has no shares: that line is what to compare with. Linux
only; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared.config import Stage
from alignment.shared.events import Meter, NullReporter
from annotation_api.jobs.validation.shapes import shape_of
from tests.benchmarks.bench_memory import SETTINGS, SHARED, SIZES, data_of, load_libraries, write_models
from tests.benchmarks.peers.ppo import resident

STAGES = (Stage.SFT, Stage.PPO)
CLEAR_PEAK = "5"  # see proc(5): the peak is then what is resident now


def main() -> None:
    options = _options()
    if options.run:
        _team(Path(options.run[0]), Stage(options.run[1]), options.processes[0])
        return
    with tempfile.TemporaryDirectory(prefix="bench-shares-") as scratch:
        folder = Path(scratch)
        write_models(folder, SIZES[options.size])
        shape = shape_of(folder / "sft")
        assert shape is not None, "it was just written"
        for stage in options.stages:
            for processes in options.processes:
                row = {"stage": stage, "processes": processes, "whole_mb": round(shape.weights * 4 / 2**20)}
                print(json.dumps(row | _measured(folder, stage, processes)), flush=True)


def _measured(folder: Path, stage: Stage, processes: int) -> dict[str, list[int]]:
    """Of one job, in new processes."""
    command = [sys.executable, "-m", "tests.benchmarks.teams.bench_shares", "--run", str(folder), stage]
    subprocess.run(
        [*command, "--processes", str(processes)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peaks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]
    return {name: [round(peak[name]) for peak in peaks] for name in peaks[0]}


def _team(folder: Path, stage: Stage, processes: int) -> None:
    from tests.support.alignment import teams

    load_libraries(stage, lora=False)
    teams.run(processes, _process, folder, stage, processes)


def _process(rank: int, folder: Path, stage: Stage, processes: int) -> None:
    """One job to its end, as one of its processes; leaves `RANK.json`."""
    from alignment.shared import stages
    from tests.support.alignment import teams

    inputs = {"model": folder / "sft", "checkpoints": folder / f"saved-{stage}-{processes}"}
    inputs |= data_of(folder, stage, lora=False)
    out = folder / f"out-{stage}-{processes}-{rank}"
    out.mkdir()
    if processes > 1:
        teams.as_on_gpus()
    with _watched() as peaks:
        stages.run(stage, SHARED | SETTINGS[stage] | {"shard_weights": True}, inputs, out, NullReporter())
    (folder / f"{rank}.json").write_text(json.dumps(peaks.ended()))


@contextmanager
def _watched() -> Iterator[_Peaks]:
    """Told when the models are in their places, and when the last step has been taken."""
    from alignment.ppo.stage import PPO
    from alignment.training.trainer import ReporterCallback

    peaks = _Peaks()
    with ExitStack() as stack:
        for kind, name, then in (
            (PPO, "start", lambda *_: peaks.placed()),
            (ReporterCallback, "on_train_begin", lambda *_: peaks.placed()),
            (Meter, "step", lambda meter, *_: meter.done == meter.total and peaks.trained()),
        ):
            stack.enter_context(patch.object(kind, name, _followed(getattr(kind, name), then)))
        yield peaks


def _followed(called: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any, **named: Any) -> Any:
        found = called(*arguments, **named)
        then(*arguments)
        return found

    return both


class _Peaks:
    """Of this process, in MB."""

    def __init__(self) -> None:
        self._found = dict[str, float]()
        self.trained()

    def placed(self) -> None:
        self._found |= {"load_mb": resident("VmHWM") - self._before, "held_mb": resident("VmRSS") - self._before}

    def trained(self) -> None:
        """What comes now begins from what is held."""
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
        self._before = resident("VmRSS")

    def ended(self) -> dict[str, float]:
        return self._found | {"save_mb": resident("VmHWM") - self._before}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", type=Stage, choices=STAGES, default=STAGES)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "STAGE"), help="one job, with the first of --processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
