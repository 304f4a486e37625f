"""Does choosing what to rank beat drawing at random? On rankings whose truth is known, at equal reading.

    python -m tests.benchmarks.bench_acquire [--seeds 10]

Of each seed: an ensemble of four learns from 60 rankings, `acquire.choose` takes of a pool of sets of 4 and of 8 what
to rank next until 240 responses are to be read, the control arm takes as many at random, and a model learns from the
first rankings and the new ones. Printed is the accuracy over all that honest annotators may say of unseen prompts
(tests/support/alignment/planted.py), of each arm, and the mean difference with its interval over seeds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from alignment.models.forward import Model, score_rows
from alignment.models.load import load_scorer, load_tokenizer
from alignment.reward import data as reward_data
from alignment.reward.acquisition import CandidateSet, choose
from alignment.reward.annotations import annotation_of_ranking
from alignment.reward.examples import Example
from alignment.reward.trainer import fit
from alignment.shared.config import RewardConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Ranking
from tests.benchmarks.support.curves import over_seeds
from tests.support.alignment import planted, tiny
from tests.support.alignment.planted import Plan

FIRST, READING, MEMBERS = 60, 240, 4  # rankings, responses, models
CONFIG = RewardConfig(
    learning_rate=2e-3, batch_size=4, micro_batch_size=4, epochs=3.0, max_length=64, heldout_fraction=0.0
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    torch.set_num_threads(1)
    gains = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(parser.parse_args().seeds):
            tiny.save(tiny.causal(seed), Path(folder) / str(seed))
            arms = Bench(Path(folder) / str(seed), seed).arms()
            gains.append(arms["informative"] - arms["random"])
            print(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in arms.items()), flush=True)
    found = over_seeds(gains)
    print(f"informative less random {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")
    return 0


class Bench:
    """One seed's pool, and the models that learn from parts of it."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base, self.seed, self.tokenizer = base, seed, load_tokenizer(base)
        self.first = planted.rankings(Plan(FIRST, seed=seed))
        self.pool = planted.rankings(Plan(300, seed=seed + 1000)) + planted.rankings(Plan(150, 8, seed=seed + 2000))
        self.unseen = planted.rankings(Plan(300, seed=seed + 3000))

    def arms(self) -> dict[str, float]:
        """Expected accuracy by arm."""
        rng = random.Random(self.seed)
        drawn = [[rng.choice(self.first) for _ in self.first] for _ in range(MEMBERS)]
        members = [self.train(rankings, self.seed + number) for number, rankings in enumerate(drawn)]
        scores = [
            torch.stack(rows) for rows in zip(*(self.scores(member, self.pool) for member in members), strict=True)
        ]
        candidates = [CandidateSet(ranking.prompt, ranking.responses) for ranking in self.pool]
        queue = choose(candidates, scores, len(candidates), self.seed, random_share=0.05)
        told = {c.index: c.information / len(candidates[c.index].responses) for c in queue if c.arm == "informative"}
        best = sorted(told, key=lambda index: -told[index])
        anyhow = rng.sample(range(len(self.pool)), len(self.pool))
        return {
            "before": self.accuracy([]),
            "random": self.accuracy(self.until_read(anyhow)),
            "informative": self.accuracy(self.until_read(best)),
            "bayes": planted.expected_accuracy(self.unseen, lambda r: [planted.worth(text) for text in r.responses])[1],
        }

    def until_read(self, order: Sequence[int]) -> list[Ranking]:
        """The first of the pool in this order, as long as no more than READING responses are to be read."""
        found: list[Ranking] = []
        for index in order:
            if sum(len(ranking.responses) for ranking in (*found, self.pool[index])) > READING:
                break
            found.append(self.pool[index])
        return found

    def train(self, rankings: Sequence[Ranking], seed: int) -> Model:
        model = load_scorer(self.base, self.tokenizer, trained=True, seed=seed)
        fit(model, self.tokenizer, self.examples(rankings), CONFIG.model_copy(update={"seed": seed}), NullReporter())
        return model.eval()

    def examples(self, rankings: Sequence[Ranking]) -> list[Example]:
        rows = [annotation_of_ranking(ranking, CONFIG) for ranking in rankings]
        return reward_data.prepare(rows, self.tokenizer, CONFIG.max_length, CONFIG).train

    def scores(self, model: Model, rankings: Sequence[Ranking]) -> list[torch.Tensor]:
        """`(K,)` of each ranking."""
        rows = [s for ranking in rankings for s in self.sequences(ranking)]
        found = score_rows(model, rows, self.tokenizer.pad_token_id, 128).double()
        return list(found.split([len(ranking.responses) for ranking in rankings]))

    def sequences(self, ranking: Ranking) -> list[list[int]]:
        (example,) = self.examples([ranking])
        return example.sequences

    def accuracy(self, added: Sequence[Ranking]) -> float:
        """Of models that learned from the first rankings and these, two heads in the mean."""
        found = []
        for number in (0, 1):
            model = self.train([*self.first, *added], 10 * self.seed + number)
            scores = dict(zip(map(id, self.unseen), self.scores(model, self.unseen), strict=True))
            found.append(planted.expected_accuracy(self.unseen, lambda r: scores[id(r)].tolist())[0])  # noqa: B023
        return statistics.mean(found)


if __name__ == "__main__":
    sys.exit(main())
