"""The rule that pauses: rarely those above the bar, soon those far below it, whenever one looks."""

from __future__ import annotations

import random
from statistics import median

import pytest

from annotation_api.annotation.gold.pausing import FALSE_PAUSES, is_below, stake

SEEDS, PEOPLE, LOOKS = 20, 25, 150


def paused_at(rng: random.Random, bar: float, accuracy: float, looks: int = LOOKS) -> int | None:
    """After which answer somebody of this accuracy is paused, looked at after each."""
    correct = 0
    for answers in range(1, looks + 1):
        correct += rng.random() < accuracy
        if is_below(bar, correct, answers - correct):
            return answers
    return None


def test_the_stake_is_the_integral_that_it_says_it_is() -> None:
    """Against a sum over a fine grid of accuracies."""
    bar, correct, wrong, steps = 0.7, 3, 4, 20_000
    grid = [(step + 0.5) / steps * bar for step in range(steps)]
    ratio = [(q / bar) ** correct * ((1 - q) / (1 - bar)) ** wrong for q in grid]
    assert stake(bar, correct, wrong) == pytest.approx(sum(ratio) / steps, rel=1e-6)


def test_nothing_is_said_without_answers_and_long_records_stay_numbers() -> None:
    assert stake(0.7, 0, 0) == pytest.approx(1)
    assert stake(0.7, 5000, 0) < 1e-3
    assert stake(0.7, 0, 5000) > 1e100


def test_a_fair_bet_stays_fair_at_the_bar() -> None:
    """The expectation over all outcomes of n answers is 1 at the bar, and less above it: by hand, for n = 3."""
    for accuracy, most in ((0.7, 1.0 + 1e-9), (0.9, 0.999)):
        chances = ((k, n_choose * accuracy**k * (1 - accuracy) ** (3 - k)) for k, n_choose in enumerate((1, 3, 3, 1)))
        mean = sum(chance * stake(0.7, k, 3 - k) for k, chance in chances)
        assert mean <= most
        if accuracy == 0.7:
            assert mean == pytest.approx(1)


def test_at_most_one_in_twenty_at_the_bar_is_ever_paused() -> None:
    """20 seeds of 25 people exactly at the bar, each looked at 150 times: the worst case that the rule allows."""
    shares = [
        sum(paused_at(random.Random(f"{seed} {person}"), 0.7, 0.7) is not None for person in range(PEOPLE)) / PEOPLE
        for seed in range(SEEDS)
    ]
    assert sum(shares) / SEEDS <= FALSE_PAUSES


def test_an_interval_that_is_right_for_one_look_would_pause_far_more() -> None:
    """Why the rule is what it is: a 95 % interval below the bar, one-sided 2.5 %, looked at as often, pauses more."""
    from alignment.shared.intervals import interval95

    def naive(rng: random.Random) -> bool:
        given: list[float] = []
        for _ in range(LOOKS):
            given.append(float(rng.random() < 0.7))
            if len(given) >= 5 and interval95(given)[1] < 0.7:
                return True
        return False

    wrong = sum(naive(random.Random(f"{seed}")) for seed in range(100))
    assert wrong / 100 > 1.5 * FALSE_PAUSES


def test_who_is_far_below_the_bar_is_paused_soon() -> None:
    found = [paused_at(random.Random(f"random {seed}"), 0.7, 0.25) for seed in range(SEEDS)]
    assert all(found)
    assert median(each for each in found if each) <= 10
