"""Accuracy of K-wise training against TRL's RewardTrainer on shuffled pairs: the same rankings, splits and heads.

    python -m tests.benchmarks.bench_accuracy MODEL rankings.jsonl --out runs.jsonl --seeds 0 1 2 3 4 \\
        --arm kwise:rate=5e-4,batch=4 --arm kwise:rate=5e-4,batch=4,epochs=3 --arm pairs:rate=5e-4,batch=16

A batch holds rankings (kwise) or pairs (pairs). An epoch of pairs reads every response K - 1 times, an epoch of
rankings once, so compare at equal epochs, at equal readings and at equal seconds, each arm at its own best rate,
and choose the rates on other seeds. A seed sets the new head, the order, and which third of the prompts is held out:
the same for every arm. Differences are to the last arm, over seeds (t) and over prompts.

`bench_stages --work FOLDER` leaves the toy world's model and rankings (FOLDER/sft, FOLDER/rankings.jsonl), shared_files
a small base model and rankings by people and by a judge. A run that `--out` holds already is not done again.
CPU seconds are this process's on one thread: other load moves them little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.reward_config import RewardConfig as TRLRewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from alignment.models.forward import Model, score_rows
from alignment.models.load import load_scorer, load_tokenizer
from alignment.reward import data as reward_data
from alignment.reward.annotations import annotation_of_ranking
from alignment.reward.examples import Example
from alignment.reward.report.accuracy import IntervalEstimate, difference
from alignment.reward.trainer import fit
from alignment.shared.config import RewardConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Ranking, read_jsonl
from tests.benchmarks.support.curves import over_seeds

HELD = 1 / 3

Wins = dict[str, tuple[float, int]]  # by prompt: comparisons ordered rightly, and all


@dataclass(frozen=True)
class Arm:
    """One way of training."""

    side: str  # kwise or pairs
    rate: float
    batch: int
    epochs: float = 1.0

    @classmethod
    def from_text(cls, text: str) -> Arm:
        """`kwise:rate=5e-4,batch=4,epochs=3`."""
        side, _, given = text.partition(":")
        values = dict(item.split("=") for item in given.split(","))
        if side not in ("kwise", "pairs"):
            raise argparse.ArgumentTypeError(f"{side!r} is neither kwise nor pairs")
        return cls(side, float(values["rate"]), int(values["batch"]), float(values.get("epochs", 1)))

    def __str__(self) -> str:
        return f"{self.side}:rate={self.rate:g},batch={self.batch},epochs={self.epochs:g}"


@dataclass(frozen=True)
class Run:
    """What one arm reached with one seed."""

    arm: str
    seed: int
    cpu: float
    wins: Wins

    @property
    def accuracy(self) -> float:
        """Share of the held-out comparisons."""
        return sum(won for won, _ in self.wins.values()) / sum(n for _, n in self.wins.values())


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    bench = Bench(options.model, options.rankings, options.max_length)
    found = [Run(**json.loads(line)) for line in _lines(options.out)]
    done = {(run.arm, run.seed): run for run in found}
    for seed in options.seeds:
        for arm in options.arm:
            if (str(arm), seed) not in done:
                run = done[str(arm), seed] = bench.run(arm, seed)
                with options.out.open("a") as file:
                    file.write(json.dumps(asdict(run)) + "\n")
                print(f"{arm} seed {seed}: {run.accuracy:.4f}, {run.cpu:.1f} s CPU", flush=True)
    last = [done[str(options.arm[-1]), seed] for seed in options.seeds]
    for arm in options.arm:
        print(row(str(arm), [done[str(arm), seed] for seed in options.seeds], last), flush=True)


class Bench:
    """One model and one file of rankings."""

    def __init__(self, model: Path, rankings: Path, max_length: int) -> None:
        self.model, self.max_length = model, max_length
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        self.rankings = [ranking for ranking in read_jsonl(rankings, Ranking) if ranking.pairs()]

    def run(self, arm: Arm, seed: int) -> Run:
        """Train on two thirds of the prompts, count on the others."""
        train, held = self.split(seed)
        began = time.process_time()
        model = self.train([example for _, example in train], arm, seed)
        return Run(str(arm), seed, time.process_time() - began, self.count(model, held))

    def train(self, examples: list[Example], arm: Arm, seed: int) -> Model:
        """A reward model on these examples; head and order are the seed's."""
        model = load_scorer(self.model, self.tokenizer, trained=True, seed=seed)
        (self._kwise if arm.side == "kwise" else self._pairs)(model, examples, arm, seed)
        return model.eval()

    def split(self, seed: int) -> tuple[list[tuple[str, Example]], list[tuple[str, Example]]]:
        """Examples to train on and to count on, each with its prompt's key."""
        keys = sorted({ranking.prompt.key for ranking in self.rankings})
        random.Random(seed).shuffle(keys)
        held = set(keys[: int(len(keys) * HELD)])
        config = RewardConfig(heldout_fraction=0, max_length=self.max_length)
        sides = []
        for side in (False, True):
            chosen = [ranking for ranking in self.rankings if (ranking.prompt.key in held) == side]
            rows = [annotation_of_ranking(ranking, config) for ranking in chosen]
            made = reward_data.prepare(rows, self.tokenizer, self.max_length, config).train
            sides.append([(chosen[example.rows[0]].prompt.key, example) for example in made])
        return sides[0], sides[1]

    def count(self, model: Model, held: Sequence[tuple[str, Example]]) -> Wins:
        """By prompt: how many comparisons the scores order rightly (equal scores: half), and how many there are."""
        sequences = [sequence for _, example in held for sequence in example.sequences]
        scores = iter(score_rows(model, sequences, self.tokenizer.pad_token_id, 64).tolist())
        wins: Wins = {}
        for key, example in held:
            mine = [next(scores) for _ in example.responses]
            gaps = [mine[c.better] - mine[c.worse] for c in example.comparisons]
            won, n = wins.get(key, (0.0, 0))
            wins[key] = (won + sum(0.5 if gap == 0 else float(gap > 0) for gap in gaps), n + len(gaps))
        return wins

    def _kwise(self, model: Model, examples: list[Example], arm: Arm, seed: int) -> None:
        config = RewardConfig(
            learning_rate=arm.rate,
            batch_size=arm.batch,
            micro_batch_size=arm.batch,
            epochs=arm.epochs,
            max_length=self.max_length,
            seed=seed,
        )
        fit(model, self.tokenizer, examples, config, NullReporter())

    def _pairs(self, model: Model, examples: list[Example], arm: Arm, seed: int) -> None:
        """TRL's defaults but for rate, batch and epochs."""
        rows = [
            {"chosen_ids": e.sequences[c.better], "rejected_ids": e.sequences[c.worse]}
            for e in examples
            for c in e.comparisons
        ]
        gpu = torch.cuda.is_available()
        with tempfile.TemporaryDirectory() as folder:
            settings: dict[str, Any] = {
                "output_dir": folder,
                "learning_rate": arm.rate,
                "per_device_train_batch_size": arm.batch,
                "num_train_epochs": arm.epochs,
                "max_length": None,
                "seed": seed,
                "bf16": gpu,
                "use_cpu": not gpu,
                "gradient_checkpointing": False,
                "report_to": [],
                "save_strategy": "no",
                "disable_tqdm": True,
                "logging_steps": 1000,
            }
            trainer = RewardTrainer(
                model=model,
                args=TRLRewardConfig(**settings),
                train_dataset=Dataset.from_list(rows),
                processing_class=self.tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()


def row(name: str, mine: Sequence[Run], last: Sequence[Run]) -> str:
    """An arm's accuracy and seconds, and its differences to the last arm."""
    mean = statistics.mean(run.accuracy for run in mine)
    cpu = statistics.mean(run.cpu for run in mine)
    text = f"{name}: {mean:.4f}, {cpu:.1f} s CPU"
    if mine == last:
        return text
    by_seed, by_prompt = (
        over_seeds([a.accuracy - b.accuracy for a, b in zip(mine, last, strict=True)]),
        over_prompts(mine, last),
    )
    return (
        f"{text}; less the last arm {by_seed.value:+.4f}, over seeds "
        f"[{by_seed.low:+.4f}, {by_seed.high:+.4f}], over prompts [{by_prompt.low:+.4f}, {by_prompt.high:+.4f}]"
    )


def over_prompts(mine: Sequence[Run], last: Sequence[Run]) -> IntervalEstimate:
    """The difference over all held-out comparisons of all seeds, prompt by prompt."""
    totals: dict[str, list[float]] = {}
    for a, b in zip(mine, last, strict=True):
        for key, (won, n) in a.wins.items():
            entry = totals.setdefault(key, [0.0, 0.0, 0])
            entry[0], entry[1], entry[2] = entry[0] + won, entry[1] + b.wins[key][0], entry[2] + n
    return difference(
        [t[0] for t in totals.values()], [t[1] for t in totals.values()], [int(t[2]) for t in totals.values()]
    )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the language model that the heads are put on")
    parser.add_argument("rankings", type=Path, help="JSONL of records.Ranking")
    parser.add_argument("--arm", type=Arm.from_text, action="append", required=True, help="kwise:... or pairs:...")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--out", type=Path, required=True, help="gets one line a run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
