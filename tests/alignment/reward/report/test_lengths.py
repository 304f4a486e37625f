"""Length: constant rules, controlled accuracy and correlations, by hand."""

import random

import pytest
import torch

from alignment.reward.report.accuracy import ScoredPair
from alignment.reward.report.lengths import balanced_accuracy, measure_lengths, symmetric_correlation, symmetric_ranks


def row(gap: float, better: int, worse: int, prompt: str = "") -> ScoredPair:
    """A comparison of two lengths; each is a prompt of its own unless named."""
    ratio = torch.log(torch.tensor((better + 1) / (worse + 1))).item()
    return ScoredPair(prompt or str(random.random()), gap, better - worse, ratio, "", "", "", "")


def test_a_rule_of_length_alone_gets_one_half_whatever_people_like() -> None:
    """The longer is preferred in 30 of 40: the rule is right in 75 %, and in 50 % with length controlled.

    Both sides are unanimous, and worth 4 / (1/30 + 1/10) = 30 prompts: 1.96^2 / 2 / (30 + 1.96^2) = 0.0568 of doubt.
    """
    rows = [row(1.0, 20, 10) for _ in range(30)] + [row(-1.0, 10, 20) for _ in range(10)]
    found = measure_lengths(rows)
    assert found.longer.value == pytest.approx(0.75)
    assert found.balanced is not None
    assert found.balanced.value == 0.5
    assert (found.balanced.low, found.balanced.high) == pytest.approx((0.4432, 0.5568), abs=1e-4)
    assert found.spearman == pytest.approx(1.0)
    assert found.pearson == pytest.approx(1.0)


def test_a_model_that_does_not_see_length_keeps_its_accuracy() -> None:
    """Right in 24 of 30 where the longer is preferred and in 8 of 10 where the shorter is."""
    rows = [row(1.0 if i % 5 else -1.0, 20, 10) for i in range(30)]
    rows += [row(1.0 if i % 5 else -1.0, 10, 20) for i in range(10)]
    balanced = balanced_accuracy(rows)
    assert balanced is not None
    assert balanced.value == pytest.approx(0.8)
    assert balanced.low < 0.8 < balanced.high


def test_equal_lengths_count_on_both_sides() -> None:
    """10 longer all right, 10 shorter all wrong, 20 equal all right: (10 + 10) / 20 and (0 + 10) / 20."""
    rows = [row(1.0, 2, 1) for _ in range(10)] + [row(-1.0, 1, 2) for _ in range(10)] + [row(1.0, 3, 3)] * 20
    balanced = balanced_accuracy(rows)
    assert balanced is not None
    assert balanced.value == pytest.approx(0.75)


def test_too_few_on_one_side_say_nothing() -> None:
    assert balanced_accuracy([row(1.0, 2, 1)] * 50 + [row(1.0, 1, 2)] * 9) is None


def test_matched_pairs_are_those_within_a_tenth() -> None:
    rows = [row(1.0, 108, 100) for _ in range(10)] + [row(-1.0, 130, 100) for _ in range(10)]
    found = measure_lengths(rows)
    assert found.matched is not None
    assert (found.matched.value, found.matched.n) == (1.0, 10)
    assert {name: part.n for name, part in found.by_difference.items()} == {"about as long": 10, "longer": 10}


def test_ranks_of_gaps_and_their_mirror_image() -> None:
    """Among -3, -2, -2, -1, 1, 2, 2, 3 the ranks of 1, -2, 2, 3 are, centred, 0.5, -2, 2 and 3.5."""
    ranks = symmetric_ranks(torch.tensor([1.0, -2.0, 2.0, 3.0]))
    assert ranks.tolist() == [0.5, -2.0, 2.0, 3.5]


def test_a_gap_without_spread_has_no_correlation() -> None:
    assert symmetric_correlation(torch.zeros(3), torch.ones(3)) is None
