"""K-wise batches learn what shuffled pairs teach: TRL's own trainer on the same rankings, judged by a planted score.

`python -m tests.benchmarks.bench_accuracy` gives the full figures, on any model and rankings.
"""

from pathlib import Path
from statistics import mean

import pytest

from alignment.models.forward import Model
from alignment.reward import stage as reward
from alignment.shared.records import Ranking, write_jsonl
from tests.benchmarks.bench_accuracy import Arm, Bench
from tests.support.alignment import planted, tiny
from tests.support.alignment.planted import Plan

SEEDS = (0, 1, 2)
UNSEEN = planted.rankings(Plan(200, seed=1))


@pytest.mark.deep(reason="nine trainings; that each pair counts as in TRL, test_stage.py shows exactly")
def test_three_passes_over_rankings_of_four_learn_no_less_than_an_epoch_of_their_pairs(bench: Bench) -> None:
    """As many updates on each response (K - 1 = 3); each side at the best of its rates on other seeds."""
    kwise, pairs, once = (
        mean(accuracy(bench, text, seed) for seed in SEEDS)
        for text in (
            "kwise:rate=2e-3,batch=4,epochs=3",
            "pairs:rate=2e-3,batch=16",
            "kwise:rate=2e-3,batch=4",
        )
    )
    assert kwise > pairs - 0.005
    assert once > pairs - 0.015  # a third of the updates


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    tiny.save(tiny.causal(), tmp_path / "base")
    write_jsonl(tmp_path / "rankings.jsonl", planted.rankings(Plan(150)))
    return Bench(tmp_path / "base", tmp_path / "rankings.jsonl", max_length=64)


def accuracy(bench: Bench, arm: str, seed: int) -> float:
    """Trained on 100 rankings: what it orders rightly of all that honest annotators may say."""
    model: Model = bench.train([example for _, example in bench.split(seed)[0]], Arm.from_text(arm), seed)

    def scores(ranking: Ranking) -> list[float]:
        prompts = [ranking.prompt] * len(ranking.responses)
        return reward.score(model, bench.tokenizer, prompts, ranking.responses).tolist()

    return planted.expected_accuracy(UNSEEN, scores)[0]
