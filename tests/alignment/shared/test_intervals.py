"""The one 95 % interval, by hand and by how often it holds what it is an interval of."""

import random

import pytest

from alignment.shared.intervals import interval95

Z2 = 1.959964**2  # 3.8415


def wilson(won: int, n: int) -> tuple[float, float]:
    """Wilson 1927 as the textbooks print it."""
    p = won / n
    half = (Z2 * (p * (1 - p) / n + Z2 / (4 * n * n))) ** 0.5
    return (p + Z2 / (2 * n) - half) / (1 + Z2 / n), (p + Z2 / (2 * n) + half) / (1 + Z2 / n)


def test_three_wins_of_three_leave_a_doubt() -> None:
    """The lower end is 3 / (3 + 1.96^2) = 0.4385; a resample of the three would say 1."""
    assert interval95([1.0, 1.0, 1.0]) == pytest.approx((0.4385, 1.0), abs=1e-4)
    assert interval95([0.0, 0.0, 0.0]) == pytest.approx((0.0, 0.5615), abs=1e-4)
    assert interval95([1.0]) == pytest.approx((1 / (1 + Z2), 1.0))  # 0.2065


@pytest.mark.parametrize(("won", "n"), [(1, 2), (3, 4), (9, 10), (29, 30), (570, 1000)])
def test_of_ones_and_zeros_it_is_wilsons(won: int, n: int) -> None:
    assert interval95([1.0] * won + [0.0] * (n - won)) == pytest.approx(wilson(won, n))


def test_prompts_that_show_less_spread_give_a_narrower_interval() -> None:
    """Of 1/4 and 3/4: variance of the mean 1/16 / 2; 1.96 sqrt(0.03125 + 0.2401) / 2.9207 = 0.3496 about 1/2."""
    assert interval95([0.25, 0.75]) == pytest.approx((0.1504, 0.8496), abs=1e-4)
    low, high = interval95([0.5] * 30)  # all tied: 1.96^2 / 2 / (30 + 1.96^2) = 0.0568
    assert (low, high) == pytest.approx((0.4432, 0.5568), abs=1e-4)


def test_what_was_said_of_one_prompt_is_one_observation() -> None:
    """Ten comparisons of each of four prompts, all right or all wrong, are four trials, not forty."""
    assert interval95([10.0, 10.0, 10.0, 0.0], [10] * 4) == pytest.approx(wilson(3, 4))


def test_unequal_counts_are_worth_fewer_prompts() -> None:
    """8, 1 and 1: 10^2 / (64 + 1 + 1) = 1.515 prompts; all right: 1.515 / (1.515 + 1.96^2) = 0.2829."""
    assert interval95([8.0, 1.0, 1.0], [8, 1, 1]) == pytest.approx((0.2829, 1.0), abs=1e-4)
    assert interval95([8.0, 1.0, 1.0, 0.0], [8, 1, 1, 0]) == interval95([8.0, 1.0, 1.0], [8, 1, 1])


def test_a_difference_of_shares_lies_within_one_either_way() -> None:
    """No difference on any of 100 prompts: 1.96^2 / (100 + 1.96^2) = 0.0370 either way, not certainty."""
    assert interval95([0.0] * 100, bounds=(-1.0, 1.0)) == pytest.approx((-0.0370, 0.0370), abs=1e-4)
    assert interval95([1.0] * 3, bounds=(-1.0, 1.0))[0] == pytest.approx(2 * 3 / (3 + Z2) - 1)


def test_scores_have_no_bounds() -> None:
    """Mean 2, variance of the mean 2 / 2^2 of deviations 1 and -1: 1.96 sqrt(1/2) = 1.386."""
    assert interval95([3.0, 1.0], bounds=None) == pytest.approx((0.614, 3.386), abs=1e-3)


def test_nothing_counted_is_refused() -> None:
    for counts in ([], [0]):
        with pytest.raises(ValueError, match="nothing was counted"):
            interval95([0.0] * len(counts), counts)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_it_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """Prompts of three judgements each, that go together (beta-binomial, 0.75): a resample of three prompts holds the
    truth in 75 %, of ten in 87 %."""
    draw, held = random.Random(n), 0
    for _ in range(1000):
        shares = [draw.betavariate(2.25, 0.75) for _ in range(n)]
        low, high = interval95([sum(draw.random() < share for _ in range(3)) / 3 for share in shares])
        held += low <= 0.75 <= high
    assert held / 1000 >= 0.93
