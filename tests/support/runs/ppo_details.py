"""What three late details of PPO do on the toy world: critic warm-up, clip-higher, several responses with a group
baseline, each against the preset alone, from the same models.

    python -m tests.support.runs.ppo_details --work FOLDER --seeds 0 1 2

Gold is the mean grade of three replies to each of 360 prompts that no stage has seen, of the policy that is handed
over. A JSON line a seed, then one a detail: the mean difference with Student's interval over seeds. What FOLDER holds
is not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.shared import stages
from alignment.shared.config import Stage, load_preset
from alignment.shared.events import NullReporter
from tests.benchmarks.bench_stages import until_reward
from tests.benchmarks.support.curves import gold_of, over_seeds

PLAIN = "plain"
DETAILS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "critic_warmup": {"critic_warmup": 3},
    "clip_range_high": {"clip_range_high": 0.28},  # DAPO's
    "group_baseline": {"responses_per_prompt": 4, "group_baseline": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    found = []
    for seed in args.seeds:
        found.append(gold_by_detail(args.work / str(seed), seed))
        print(json.dumps({"seed": seed} | found[-1] | {"load": round(os.getloadavg()[0], 2)}), flush=True)
    for name in DETAILS:
        gained = over_seeds([gold[name] - gold[PLAIN] for gold in found])
        print(json.dumps({"detail": name, "gained": gained.value, "low": gained.low, "high": gained.high}), flush=True)


def gold_by_detail(work: Path, seed: int) -> dict[str, float]:
    """The gold score of the policy that each variant hands over."""
    bench, world = until_reward(work, seed)
    gold = {}
    for name, changes in DETAILS.items():
        config = load_preset("toy", Stage.PPO, {"seed": seed} | changes).model_dump()

        def train(out: Path, config: dict[str, Any] = config) -> Any:
            return stages.run(Stage.PPO, config, bench.policy_inputs, out, NullReporter())

        bench.stage(f"ppo-{name}", train)
        gold[name] = round(gold_of(work / f"ppo-{name}", world, seed), 4)
    return gold


if __name__ == "__main__":
    main()
