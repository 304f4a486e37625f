"""PPO by two processes of one core each, beside one process that has both cores, on bench_ppo's work.

    python -m tests.benchmarks.teams.bench_team [--rounds 3] [--updates 4]

The sides run in turn, each round in processes of its own; an update's seconds are their median without the first
update. Two processes talk by gloo. Prints a line of JSON a round, and the median of the ratios: the speed of two
as a share of the speed of one. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared.config import PPOConfig
from alignment.shared.events import NullReporter
from alignment.shared.stages import PPOInputs
from tests.benchmarks.bench_ppo import models_that_stop, stage_of
from tests.benchmarks.peers.ppo import Work

SIDES = (1, 2)  # processes


def main() -> None:
    options = _options()
    if options.processes:
        print(json.dumps(_seconds(options.processes, options.updates)))
        return
    ratios = []
    for _ in range(options.rounds):
        alone, two = (_measured(side, options.updates) for side in SIDES)
        ratios.append(alone / two)
        found = {"one_s": alone, "two_s": two, "ratio": round(ratios[-1], 3)}
        print(json.dumps(found | {"load": round(os.getloadavg()[0], 2)}), flush=True)
    print(json.dumps({"ratio": round(statistics.median(ratios), 3)}))


def _measured(processes: int, updates: int) -> float:
    """Median seconds of an update in new processes, which share the cores."""
    command = [sys.executable, "-m", "tests.benchmarks.teams.bench_team", "--processes", str(processes)]
    threads = {"OMP_NUM_THREADS": str(len(SIDES) // processes)}
    done = subprocess.run(
        [*command, "--updates", str(updates)], env=os.environ | threads, check=True, stdout=subprocess.PIPE, text=True
    )
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return round(statistics.median(seconds[1:]), 2)


def _seconds(processes: int, updates: int) -> list[float]:
    """Of each update, as the first process sees them."""
    from tests.support.alignment import teams

    config, inputs, out = stage_of(Work(), updates)
    out.mkdir()
    teams.run(processes, _train, config, inputs, out)
    found: list[float] = json.loads((out / "seconds.json").read_text())
    return found


def _train(rank: int, config: PPOConfig, inputs: PPOInputs, out: Path) -> None:
    from alignment.ppo import stage as ppo

    clock = _Clock(time.perf_counter)
    (out / str(rank)).mkdir()
    with models_that_stop(Work()):
        ppo.train(config, inputs, out / str(rank), clock)
    if rank == 0:
        (out / "seconds.json").write_text(json.dumps(clock.seconds))


class _Clock(NullReporter):
    """Seconds from one update's end to the next one's."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.last, self.seconds = now, now(), list[float]()

    def progress(self, progress: Any) -> None:
        now = self.now()
        self.seconds.append(now - self.last)
        self.last = now


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--processes", type=int, choices=SIDES, help="one side alone, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
