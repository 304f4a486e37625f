"""Planted truths, through the real reward stage: what is true of the rankings is what the report says.

`python -m tests.benchmarks.bench_planted` gives the full figures.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from alignment.models.load import load_reward_model, load_tokenizer
from alignment.reward import stage as reward
from alignment.shared import gate, stages
from alignment.shared.config import GateConfig
from alignment.shared.events import NullReporter
from alignment.shared.gate import GateOutcome
from alignment.shared.records import Ranking, split_of, write_jsonl
from tests.support.alignment import planted, tiny
from tests.support.alignment.planted import Plan, careless, contrary, honest, lover_of_length

pytestmark = pytest.mark.slow

HELD = 0.25
SETTINGS = {"learning_rate": 4e-3, "batch_size": 16, "micro_batch_size": 16, "max_length": 64, "heldout_fraction": HELD}


def trained(folder: Path, plan: Plan, **settings: Any) -> dict[str, Any]:
    """The report of a reward model that was trained on the plan's rankings."""
    write_jsonl(folder / "rankings.jsonl", planted.rankings(plan))
    tiny.save(tiny.causal(), folder / "base")
    inputs = {"model": folder / "base", "rankings": folder / "rankings.jsonl"}
    result = stages.run(stages.Stage.REWARD, SETTINGS | settings, inputs, folder / "out", NullReporter())
    report: dict[str, Any] = json.loads((folder / "out" / gate.REPORT).read_text())
    assert result.metrics["heldout_accuracy"] == report["metrics"]["heldout_accuracy"]
    return report


def said(report: dict[str, Any], about: str, level: str | None = None) -> str:
    """All that the report says of something."""
    words = [word for word in report["words"] if word["about"] == about and level in (None, word["level"])]
    return " ".join(f"{word['text']} {word['next']}" for word in words)


def outcome(report: dict[str, Any]) -> GateOutcome:
    return gate.decide(report["metrics"], GateConfig()).outcome


@pytest.mark.deep(reason="each term of the losses is checked by hand-worked numbers; this is their sum over a long run")
def test_a_known_score_is_learnt_to_within_two_points_of_the_bayes_limit(tmp_path: Path) -> None:
    plan = Plan(3200)
    report = trained(tmp_path, plan)
    tokenizer = load_tokenizer(tmp_path / "out")
    model = load_reward_model(tmp_path / "out", tokenizer)

    def scores(ranking: Ranking) -> list[float]:
        return reward.score(model, tokenizer, [ranking.prompt] * len(ranking.responses), ranking.responses).tolist()

    held = [ranking for ranking in planted.rankings(plan) if split_of(ranking.prompt, HELD) == "heldout"]
    expected, bayes = planted.expected_accuracy(held, scores)
    assert 0.75 < bayes < 0.85
    assert bayes - expected < 0.02
    found = report["accuracy"]
    assert found["low"] < expected < found["high"]  # the interval holds what it is an interval of
    assert report["calibration"]["error"] < 0.06
    assert outcome(report) is GateOutcome.PASSED
    assert "learnt by heart" not in said(report, "data")


def test_random_labels_are_found_and_stopped(tmp_path: Path) -> None:
    plan = Plan(150, judges=(("ann", careless), ("ben", careless), ("cat", careless)), overlap=2)
    report = trained(tmp_path, plan)
    assert outcome(report) is GateOutcome.REFUSED
    assert "the labels look random" in said(report, "ceiling", "bad")
    assert report["words"][0]["text"].startswith("Do not optimise against this model.")
    assert "not above chance" in report["words"][0]["text"]


def test_random_labels_that_nobody_judged_twice_are_stopped_too(tmp_path: Path) -> None:
    report = trained(tmp_path, Plan(150, judges=(("ann", careless),)))
    assert outcome(report) is GateOutcome.REFUSED
    assert "Let two people judge some tasks" in said(report, "data") + said(report, "ceiling")


def test_a_planted_length_bias_is_found_and_stopped(tmp_path: Path) -> None:
    report = trained(tmp_path, Plan(400, judges=(("ann", lover_of_length),)))
    assert report["accuracy"]["low"] > 0.6  # by its accuracy alone it would pass
    assert "It is mostly length" in said(report, "length", "bad")
    assert report["lengths"]["spearman"] > 0.6
    assert outcome(report) is GateOutcome.REFUSED


def test_a_careless_and_a_contrary_annotator_are_found_among_those_who_share_tasks(tmp_path: Path) -> None:
    judges = (("ann", honest), ("ben", honest), ("cat", honest), ("dan", careless), ("eve", contrary))
    report = trained(tmp_path, Plan(160, judges=judges, overlap=3))
    assert {person["name"] for person in report["agreement"]["people"] if person["flagged"]} == {"dan", "eve"}
    assert "dan agrees with the others about as a coin would" in said(report, "annotators", "warn")
    assert "Ask eve whether best and worst were swapped" in said(report, "annotators", "warn")
    assert "Without those who disagree, agreement is" in said(report, "annotators")
    assert "look random" not in said(report, "ceiling")


def test_a_careless_annotator_who_shares_no_task_is_found_by_the_model(tmp_path: Path) -> None:
    judges = (("ann", honest), ("ben", honest), ("dan", careless), ("cat", honest))
    report = trained(tmp_path, Plan(480, judges=judges))
    assert report["agreement"]["ceiling"] is None
    warned = [word["text"] for word in report["words"] if (word["about"], word["level"]) == ("annotators", "warn")]
    assert len(warned) == 1
    assert "The model agrees with dan in" in warned[0]
