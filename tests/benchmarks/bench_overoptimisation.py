"""Over-optimisation on the toy world: a reward model from few, noisy rankings, and PPO on a loose leash.

    python -m tests.benchmarks.bench_overoptimisation --work FOLDER --seeds 0 1 2 3 4

The learned score goes on rising where the gold score, which nothing in training sees, has turned (Gao et al. 2022).
Of each seed: the gold score of the SFT policy, at its best and at the end; the first look by which it had lost half of
its gain; the first alarm about the policy (not its optimizer); and the gold score of the policy that the rule kept, as
a share of the best look's. Beside it the alarms of the same seed with the toy preset and all its rankings, where the
gold score does not turn. `FOLDER/overoptimisation.svg` draws both scores, the alarm and the kept policy of each seed.
What FOLDER holds is not computed again, so delete it to see other settings. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from alignment.shared.config import Stage
from alignment.shared.records import Ranking, read_jsonl, write_jsonl
from alignment.toyworld.people import Annotator, annotators
from alignment.toyworld.world import World
from tests.benchmarks.bench_stages import Bench, until_reward
from tests.benchmarks.support.curves import gold_by_update, looks_kept

REASON = "An experiment with a reward model that is known to be weak."
GOLD_REPLIES = 9  # to each of 360 prompts: the best of many looks is else the luckiest
OF_THE_OPTIMIZER = {"policy_clipping", "value_clipping", "critic"}  # alarms that say nothing of what is written


@dataclass(frozen=True)
class Outcome:
    """One seed."""

    seed: int
    accuracy: float  # of the weak reward model, held out
    sft: float  # gold, as the next two
    best: float
    last: float
    best_at: int
    half_lost_at: int | None  # None: it never was
    alarm_at: int | None
    alarm: str | None
    kept_at: int
    kept_share: float  # of the best look's gold
    calm: list[str]  # alarms of the ordinary run

    @property
    def in_time(self) -> bool:
        return self.half_lost_at is None or (self.alarm_at is not None and self.alarm_at < self.half_lost_at)


def main() -> None:
    options = _options()
    found, drawn = [], {}
    for seed in options.seeds:
        bench, world = until_reward(options.work / str(seed), seed)
        weak, gold = train_on_few(bench, world, options)
        with looks_kept(bench.work / "looks"):  # bench_learning may go on from here
            bench.run(Stage.PPO, bench.policy_inputs)
        found.append(outcome(seed, weak, gold, _details(bench.work / "ppo")))
        drawn[seed] = (gold, _details(weak / "ppo"))
        print(json.dumps(asdict(found[-1]) | {"in_time": found[-1].in_time}), flush=True)
    print(json.dumps(summary(found)), flush=True)
    draw(options.work / "overoptimisation.svg", drawn)


def train_on_few(bench: Bench, world: World, options: argparse.Namespace) -> tuple[Path, dict[int, float]]:
    """A reward model and a policy in a folder of their own; the gold score of each look."""
    weak = bench.work / f"few-{options.rankings}"
    weak.mkdir(exist_ok=True)
    write_jsonl(weak / "rankings.jsonl", few_and_noisy(bench, world, options.rankings, options.slip))
    stages = Bench(weak, bench.seed, {})
    stages.run(Stage.REWARD, {"model": bench.work / "sft", "rankings": weak / "rankings.jsonl"})
    settings = {
        "kl_coef": options.kl_coef,
        "learning_rate": options.rate,
        "updates": options.updates,
        "evaluate_every": 2,
    }
    with looks_kept(weak / "looks"):
        stages.run(
            Stage.PPO,
            bench.policy_inputs | {"reward_model": weak / "reward"},
            settings | {"accept_reward_model": REASON},
        )
    return weak, gold_by_update(weak / "looks", world, bench.seed, GOLD_REPLIES)


def few_and_noisy(bench: Bench, world: World, count: int, slip: float) -> list[Ranking]:
    """`count` of the seed's tasks, ranked anew by people who misjudge each reply with the chance `slip`."""
    rng = random.Random(bench.seed)
    people = [replace(person, slip=slip) for person in annotators(world)]
    tasks = rng.sample(list(read_jsonl(bench.rankings, Ranking)), count)
    return [_ranked_by(rng.choice(people), task) for task in tasks]


def _ranked_by(person: Annotator, task: Ranking) -> Ranking:
    groups = person.rank(task.prompt, task.responses)
    return task.model_copy(update={"groups": groups, "annotator": person.email})


def outcome(seed: int, weak: Path, gold: Mapping[int, float], calm: Mapping[str, Any]) -> Outcome:
    """What the gold scores by update and the run's own words come to."""
    details, accuracy = _details(weak / "ppo"), json.loads((weak / "reward" / "bench.json").read_text())
    best_at = max(gold, key=lambda update: gold[update])
    half = (gold[0] + gold[best_at]) / 2
    alarms = _alarms(details)
    kept_at = next(look["step"] for look in details["checkpoints"] if look["chosen"])
    return Outcome(
        seed,
        accuracy["heldout_accuracy"],
        gold[0],
        gold[best_at],
        gold[max(gold)],
        best_at,
        next((update for update in sorted(gold) if update > best_at and gold[update] < half), None),
        alarms[0]["update"] if alarms else None,
        alarms[0]["name"] if alarms else None,
        kept_at,
        gold[kept_at] / gold[best_at],
        [alarm["name"] for alarm in _alarms(calm)],
    )


def summary(found: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "seeds": len(found),
        "turned": sum(entry.half_lost_at is not None for entry in found),
        "alarm_in_time": sum(entry.in_time for entry in found),
        "kept_within_5_percent": sum(entry.kept_share >= 0.95 for entry in found),
        "mean_kept_share": round(sum(entry.kept_share for entry in found) / len(found), 3),
        "last_as_share_of_best": round(sum(entry.last / entry.best for entry in found) / len(found), 3),
        "alarms_in_ordinary_runs": sum(len(entry.calm) for entry in found),
    }


def draw(path: Path, drawn: Mapping[int, tuple[Mapping[int, float], Mapping[str, Any]]]) -> None:
    """For each seed the learned score above, the gold score below; a line for the alarm, a ring for the kept policy."""
    figure = Figure(figsize=(3.2 * len(drawn), 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    rows = figure.subplots(2, len(drawn), squeeze=False, sharex=True)
    for column, (seed, (gold, details)) in enumerate(drawn.items()):
        looks = details["checkpoints"]
        learned = {look["step"]: look["metrics"]["heldout_score"] for look in looks}
        kept = next(look["step"] for look in looks if look["chosen"])
        for axes, scores, label in zip(rows[:, column], (learned, gold), ("learned", "gold"), strict=True):
            axes.plot(list(scores), list(scores.values()), color="#4a7fb5")
            axes.plot(kept, scores[kept], "o", color="#c2694f", markersize=9, fillstyle="none")
            for alarm in _alarms(details)[:1]:
                axes.axvline(alarm["update"], color="#c2694f", linestyle="--", linewidth=0.8)
            axes.set_ylabel(f"{label} score")
        rows[0, column].set_title(f"seed {seed}")
        rows[1, column].set_xlabel("update")
    figure.savefig(path, metadata={"Date": None})


def _alarms(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [alarm for alarm in details["alarms"] if alarm["name"] not in OF_THE_OPTIMIZER]


def _details(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "details.json").read_text())
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder to work in; gets a folder a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rankings", type=int, default=120, help="that the reward model learns from")
    parser.add_argument("--slip", type=float, default=0.3, help="share of replies that are misjudged altogether")
    parser.add_argument("--kl-coef", type=float, default=0.02, help="a tenth of the toy preset's")
    parser.add_argument("--rate", type=float, default=1.5e-4, help="learning rate, slow enough to see the turn")
    parser.add_argument("--updates", type=int, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    main()
