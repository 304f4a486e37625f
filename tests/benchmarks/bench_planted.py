"""Planted truths with full figures: how near the Bayes limit, and what the report says of each planted fault.

    python -m tests.benchmarks.bench_planted [--seeds 3] [--out runs/planted] [--votes reliability] [--only careless]

`--votes adjudicated`: a reviewer who looks twice decides the fifth of the prompts on which people differ most, and the
decisions stand instead of the votes.

Rankings come from a known score (tests/support/alignment/planted.py), so the best accuracy that any model can have is
known. One line a run; the reports lie in the folder. About 40 s a seed on one quiet core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignment.models.load import load_reward_model, load_tokenizer
from alignment.reward import stage as reward
from alignment.shared import gate, stages
from alignment.shared.config import GateConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Ranking, split_of, write_jsonl
from tests.support.alignment import planted, tiny
from tests.support.alignment.planted import Plan, careless, contrary, honest, lover_of_length

HELD = 0.25
VOTES = ("each", "agreement", "reliability", "modal")
ADJUDICATED = "adjudicated"
DECIDED = 0.2  # of the prompts
SETTINGS = {"learning_rate": 4e-3, "batch_size": 16, "micro_batch_size": 16, "max_length": 64, "heldout_fraction": HELD}
TEAM = (("ann", honest), ("ben", honest), ("cat", honest))
PLANS = {
    "honest, 500 prompts": Plan(500),
    "honest, 1000 prompts": Plan(1000),
    "honest, 2000 prompts": Plan(2000),
    "honest, 4000 prompts": Plan(4000),
    "two honest a task": Plan(1000, judges=TEAM, overlap=2),
    "random labels": Plan(400, judges=(("ann", careless),)),
    "random labels, two a task": Plan(400, judges=tuple((name, careless) for name, _ in TEAM), overlap=2),
    "length bias": Plan(800, judges=(("ann", lover_of_length),)),
    "one of four careless": Plan(800, judges=(*TEAM, ("dan", careless))),
    "careless and contrary, three a task": Plan(400, judges=(*TEAM, ("dan", careless), ("eve", contrary)), overlap=3),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/planted"))
    parser.add_argument("--votes", choices=(*VOTES, ADJUDICATED), default="each")
    parser.add_argument("--only", default="", help="plans with this in their name")
    options = parser.parse_args(arguments)
    for name, plan in PLANS.items():
        for seed in range(options.seeds if options.only in name else 0):
            folder = options.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            print(
                f"{name}, seed {seed}: {run(folder, Plan(**{**vars(plan), 'seed': seed}), options.votes)}", flush=True
            )
    return 0


def run(folder: Path, plan: Plan, votes: str) -> str:
    """Train into the folder; one line of figures and findings."""
    folder.mkdir(parents=True)
    rankings = planted.rankings(plan)
    read = planted.adjudicated(rankings, DECIDED, plan.seed) if votes == ADJUDICATED else rankings
    votes = "each" if votes == ADJUDICATED else votes
    write_jsonl(folder / "rankings.jsonl", read)
    tiny.save(tiny.causal(plan.seed), folder / "base")
    inputs = {"model": folder / "base", "rankings": folder / "rankings.jsonl"}
    began = time.monotonic()
    stages.run(
        stages.Stage.REWARD, SETTINGS | {"seed": plan.seed, "votes": votes}, inputs, folder / "out", NullReporter()
    )
    report = json.loads((folder / "out" / gate.REPORT).read_text())
    said = [figures(report), f"{time.monotonic() - began:.0f} s"]
    if any(judge is honest for _, judge in plan.judges):
        said.insert(0, beside_bayes(folder / "out", rankings))
    return "; ".join(said)


def beside_bayes(folder: Path, rankings: Sequence[Ranking]) -> str:
    tokenizer = load_tokenizer(folder)
    model = load_reward_model(folder, tokenizer)

    def scores(ranking: Ranking) -> list[float]:
        return reward.score(model, tokenizer, [ranking.prompt] * len(ranking.responses), ranking.responses).tolist()

    held = [ranking for ranking in rankings if split_of(ranking.prompt, HELD) == "heldout"]
    expected, bayes = planted.expected_accuracy(held, scores)
    return f"expected accuracy {expected:.4f}, Bayes limit {bayes:.4f}, {100 * (bayes - expected):.2f} points below"


def figures(report: dict[str, Any]) -> str:
    found, lengths = report["accuracy"], report["lengths"]
    ceiling = report["agreement"]["ceiling"]
    words = [word["text"] for word in report["words"][1:] if word["level"] in ("bad", "warn")]
    return (
        f"measured {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f}), length controlled "
        f"{lengths['balanced']['value']:.3f}, agreement {ceiling['value'] if ceiling else float('nan'):.3f}, gate "
        f"{gate.decide(report['metrics'], GateConfig()).outcome.value}; {' | '.join(words) or 'nothing to warn of'}"
    )


if __name__ == "__main__":
    sys.exit(main())
