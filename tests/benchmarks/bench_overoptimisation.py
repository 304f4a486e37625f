"""Over-optimisation on the toy world: a reward model from few, noisy rankings, and a long run on a loose leash.

    python -m tests.benchmarks.bench_overoptimisation --work FOLDER --seeds 0 1 2 3 4

The learned score goes on rising where the gold score, which nothing in training sees, has turned (Gao et al. 2022).
Of each seed: the gold score of the SFT policy, at its best and at the end; the look after which it had lost half of
its gain; the first alarm; and the gold score of the policy that the rule kept, as a share of the best look's. Beside
it, the alarms of the same seed's ordinary run, where there should be none. `FOLDER/overoptimisation.svg` draws both
scores of each seed. What FOLDER holds is not computed again. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from alignment.config import Stage
from alignment.records import Ranking, read_jsonl, write_jsonl
from alignment.toypeople import annotators
from alignment.toyworld import World
from tests.benchmarks.bench_stages import Bench, until_reward
from tests.benchmarks.curves import gold_by_update, gold_of, looks_kept

REASON = "An experiment with a reward model that is known to be weak."


def main() -> None:
    options = _options()
    for seed in options.seeds:
        bench, world = until_reward(options.work / str(seed), seed)
        row = run(bench, world, options)
        print(json.dumps({"seed": seed} | row), flush=True)


def run(bench: Bench, world: World, options: argparse.Namespace) -> dict[str, Any]:
    weak = bench.work / options.name
    weak.mkdir(exist_ok=True)
    rankings = weak / "rankings.jsonl"
    write_jsonl(rankings, few_and_noisy(bench, world, options.rankings, options.slip))
    inner = Bench(weak, bench.seed, dict(item.split("=", 1) for item in options.set))
    inner.run(Stage.REWARD, {"model": bench.work / "sft", "rankings": rankings})
    inputs = bench.policy_inputs | {"reward_model": weak / "reward"}
    settings = {"kl_coef": options.kl_coef, "updates": options.updates, "accept_reward_model": REASON}
    with looks_kept(weak / "looks"):
        inner.run(Stage.PPO, inputs, settings)
    gold = gold_by_update(weak / "looks", world, bench.seed)
    result = json.loads((weak / "ppo" / "details.json").read_text())
    learned = {look["step"]: look["metrics"] for look in result["checkpoints"]}
    for update, value in gold.items():
        m = learned[update]
        print(update, round(value, 3), *(f"{m[k]:.2f}" for k in ("heldout_score", "heldout_kl", "heldout_objective", "heldout_response_length")))
    for a in result["alarms"]:
        print(a["update"], a["name"], a["found"])
    return {"kept": gold_of(weak / "ppo", world, bench.seed), "kept_at": [c["step"] for c in result["checkpoints"] if c["chosen"]], "acc": inner.report["stages"]["reward"]["heldout_accuracy"]}


def few_and_noisy(bench: Bench, world: World, count: int, slip: float) -> list[Ranking]:
    """`count` of the seed's tasks, ranked anew by people who misjudge each reply with the chance `slip`."""
    rng = random.Random(bench.seed)
    people = [dataclasses.replace(person, slip=slip) for person in annotators(world)]
    found = []
    for ranking in rng.sample(list(read_jsonl(bench.rankings, Ranking)), count):
        person = rng.choice(people)
        groups = person.rank(ranking.prompt, ranking.responses)
        found.append(dataclasses.replace(ranking, groups=groups, annotator=person.email) if dataclasses.is_dataclass(ranking) else ranking.model_copy(update={"groups": groups, "annotator": person.email}))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder to work in; gets a folder a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rankings", type=int, default=120)
    parser.add_argument("--slip", type=float, default=0.3, help="share of replies that are misjudged altogether")
    parser.add_argument("--kl-coef", type=float, default=0.02)
    parser.add_argument("--updates", type=int, default=96)
    parser.add_argument("--name", default="weak")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="a setting as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
