"""Accuracy and its interval, whole and in parts."""

import math

import pytest

from alignment.reward.report.accuracy import accuracy, accuracy_by, compare, ratio_estimate
from alignment.shared.records import Prompt, Ranking


def rankings_of(*groups: tuple[tuple[int, ...], ...], prompts: str = "") -> list[Ranking]:
    """One ranking for each order; the i-th letter of `prompts` names its prompt, else each has its own."""
    return [
        Ranking(
            prompt=Prompt.from_text(prompts[i] if prompts else str(i)),
            responses=tuple(f"r{n}" for n in range(sum(map(len, order)))),
            groups=order,
        )
        for i, order in enumerate(groups)
    ]


def test_accuracy_by_hand() -> None:
    """Ranks 0, 1, 1: two comparisons, one right, one equal. Ranks 0, 1: one comparison, wrong."""
    rows = compare(rankings_of(((0,), (1, 2)), ((0,), (1,))), [[2.0, 1.0, 2.0], [0.0, 1.0]])
    assert [row.gap for row in rows] == [1.0, 0.0, -1.0]
    assert (accuracy(rows).value, accuracy(rows).n, accuracy(rows).prompts) == (pytest.approx(1.5 / 3), 3, 2)


def test_nothing_to_order_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was counted"):
        accuracy(compare(rankings_of(((0, 1),)), [[1.0, 2.0]]))


def test_interval_has_the_width_of_the_normal_approximation() -> None:
    """400 coin flips at 0.5: half-width 1.96 * sqrt(0.25 / 400) = 0.049."""
    estimate = ratio_estimate([1.0, 0.0] * 200, [1] * 400)
    assert estimate.low == pytest.approx(0.451, abs=0.006)
    assert estimate.high == pytest.approx(0.549, abs=0.006)


def test_comparisons_of_one_prompt_are_not_independent() -> None:
    """40 prompts of 10 comparisons that are all right or all wrong: as wide as 40 flips, not 400."""
    grouped = ratio_estimate([10.0, 0.0] * 20, [10] * 40)
    assert grouped.high - grouped.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 40), abs=0.03)


def test_rankings_of_one_prompt_are_one_observation() -> None:
    """Two prompts, one judged rightly and one wrongly ten times over: Wilson's interval of one in two."""
    rankings = rankings_of(*[((0,), (1,))] * 20, prompts="a" * 10 + "b" * 10)
    found = accuracy(compare(rankings, [[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 10))
    assert (found.value, found.n, found.prompts) == (0.5, 20, 2)
    assert (found.low, found.high) == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_many_prompts_come_to_the_normal_approximation() -> None:
    """1600 coin flips: 1.96 * sqrt(0.25 / 1600) = 0.0245; in clusters of four alike, twice that."""
    flips = ratio_estimate([1.0, 0.0] * 800, [1] * 1600)
    assert (flips.low, flips.high) == pytest.approx((0.4755, 0.5245), abs=1e-4)
    clusters = ratio_estimate([4.0, 0.0] * 800, [4] * 1600)
    assert (clusters.low, clusters.high) == pytest.approx((0.4755, 0.5245), abs=1e-4)


def test_unanimous_prompts_leave_a_doubt() -> None:
    """Four of four: Wilson's lower end is 4 / (4 + 1.96^2) = 0.51; a resample would say 1."""
    estimate = ratio_estimate([3.0] * 4, [3] * 4)
    assert (estimate.value, estimate.n, estimate.prompts) == (1.0, 12, 4)
    assert estimate.high == pytest.approx(1.0)
    assert estimate.low == pytest.approx(4 / (4 + 1.96**2), abs=1e-3)


def test_comparisons_are_counted_by_part() -> None:
    ranking = Ranking(
        prompt=Prompt.from_text("?", language="zh"),
        responses=("long answer", "short", "mid one"),
        groups=((1,), (0, 2)),
        strength=3,
        annotator="ann",
        criterion="honest",
    )
    rows = compare([ranking], [[1.0, 2.0, 2.5]])
    assert [(row.gap, row.longer) for row in rows] == [(1.0, -6), (-0.5, -2)]
    assert accuracy_by(rows, lambda row: row.annotator)["ann"].value == 0.5
    assert {(row.strength, row.criterion, row.language) for row in rows} == {("3", "honest", "zh")}
    assert accuracy_by(rows, lambda row: "") == {}
