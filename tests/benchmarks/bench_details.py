"""What three details of PPO do on the toy world, each alone against the preset `toy`.

    python -m tests.benchmarks.bench_details --toy runs/demo/toy --sft FOLDER --reward FOLDER --seeds 0 1 2

`--sft` and `--reward` are models that a demo left (`home-*/artifacts/JOB/1`): all runs begin at the same policy and
follow the same reward model, so a seed is one of sampling and of the order of prompts. Of each run: the gold score of
held-out replies of the policy that was kept and its KL to the SFT policy, the share of the value's variance that the
critic explains in the first updates in which the policy learns, and the mean entropy of the last ones.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared import stages
from alignment.shared.config import Stage, load_preset
from alignment.shared.events import NullReporter, StageProgress
from alignment.toyworld.world import build_world
from annotation_api.demo.judge import gold_by_update

DETAILS: dict[str, dict[str, Any]] = {
    "preset toy": {},
    "critic_warmup = 4": {"critic_warmup": 4},
    "clip_range_high = 0.28": {"clip_range_high": 0.28},
    "responses_per_prompt = 4, group_baseline": {"responses_per_prompt": 4, "group_baseline": True},
}
FIRST, LAST = 4, 4  # updates of the policy


class Curve(NullReporter):
    """Keeps what each update measured."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def progress(self, progress: StageProgress) -> None:
        self.rows.append(dict(progress.metrics))


def measure(options: argparse.Namespace, seed: int, change: dict[str, Any]) -> dict[str, float]:
    settings = load_preset("toy", Stage.PPO).model_dump(mode="json")
    settings |= {"updates": options.updates, "seed": seed} | change
    inputs = {"model": options.sft, "reward_model": options.reward, "prompts": options.toy / "prompts.jsonl"}
    curve = Curve()
    with tempfile.TemporaryDirectory() as folder:
        result = stages.run(Stage.PPO, settings, inputs, Path(folder) / "out", curve)
        with (Path(folder) / "out" / "looks.jsonl").open() as rows:
            gold = gold_by_update(build_world(0), map(json.loads, rows))
    learning = curve.rows[change.get("critic_warmup", 0) :][:FIRST]
    mean = lambda rows, name: sum(row.get(name, float("nan")) for row in rows) / len(rows)  # noqa: E731
    return {
        "gold": max(gold.values()),
        "gold at the end": gold[max(gold)],
        "kl": result.metrics["heldout_kl"],
        "explained": mean(learning, "explained_variance"),
        "entropy": mean(curve.rows[-LAST:], "entropy"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("toy", "sft", "reward"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=32)
    parser.add_argument("--only", choices=DETAILS, nargs="+", default=list(DETAILS))
    options = parser.parse_args()
    for name in options.only:
        for seed in options.seeds:
            found = measure(options, seed, DETAILS[name])
            print(name, seed, json.dumps({key: round(value, 3) for key, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
