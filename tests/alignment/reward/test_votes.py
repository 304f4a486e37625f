"""Several annotators of one task: agreement, reliability, majority, cycles; by hand."""

import itertools
import random
from collections.abc import Mapping

import pytest

from alignment.reward import votes


def test_agreement_by_hand() -> None:
    """Three pairs: one ordered alike, one tied by one, one turned round."""
    assert votes.agreement((0, 1, 2), (0, 1, 2)) == 1.0
    assert votes.agreement((0, 1, 2), (2, 1, 0)) == 0.0
    assert votes.agreement((0, 1, 2), (0, 2, 0)) == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_vote_weighs_what_the_others_say() -> None:
    alike, against = (0, 1, 2), (2, 1, 0)
    assert votes.by_agreement([alike, alike, against]) == [0.5, 0.5, 0.0]
    assert votes.by_agreement([alike]) == [1.0]


def test_reliability_finds_the_one_who_turns_everything_round() -> None:
    tasks = [[("ann", (0, 1, 2)), ("bob", (0, 1, 2)), ("eve", (2, 1, 0))]] * 12
    known = votes.reliabilities(tasks)
    assert known["ann"] == known["bob"] > 0.8
    assert known["eve"] == 0.0


def test_who_shares_no_task_counts_as_usual() -> None:
    known = votes.reliabilities([[("ann", (0, 1)), ("bob", (0, 1))], [("zoe", (0, 1))]])
    assert set(known) == {"ann", "bob"}
    assert votes.by_reliability(["ann", "zoe", None], {"ann": 0.2, "bob": 0.6}) == pytest.approx([0.2, 0.4, 0.4])
    assert votes.by_reliability(["zoe"], {}) == [1.0]


def test_a_careless_annotators_comparisons_weigh_less_than_they_mislead() -> None:
    """Of five people one is a coin. By weight, more of what is said is true than by count."""
    chance, people = random.Random(0), ("ann", "ben", "cat", "dan", "coin")
    tasks: list[list[tuple[str | None, tuple[int, ...]]]] = []
    for _ in range(300):
        task: list[tuple[str | None, tuple[int, ...]]] = []
        for name in chance.sample(people, 3):
            noise = 99.0 if name == "coin" else 0.8
            seen = sorted(range(4), key=lambda place: place + chance.gauss(0, noise))
            task.append((name, tuple(seen.index(place) for place in range(4))))
        tasks.append(task)
    known = votes.reliabilities(tasks)
    assert known["coin"] < 0.2
    assert min(known[name] for name in people[:4]) > 0.7

    def true_share(weight: Mapping[str, float]) -> float:
        said = [
            (weight[name or ""], ranks[i] < ranks[j])
            for task in tasks
            for name, ranks in task
            for i, j in itertools.combinations(range(4), 2)
        ]
        return sum(share for share, right in said if right) / sum(share for share, _ in said)

    by_count, by_weight = true_share(dict.fromkeys(people, 1.0)), true_share(known)
    assert by_count < 0.87
    assert by_weight > by_count + 0.05


def test_majority_decides_each_pair_by_count() -> None:
    found = votes.majority([(0, 1, 2), (0, 2, 1), (1, 0, 2)], [1.0, 1.0, 1.0])
    assert found == {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 1.0}
    assert votes.majority([(0, 1), (1, 0)], [1.0, 1.0]) == {(0, 1): 0.5}
    assert votes.majority([(0, 1), (1, 0)], [1.0, 3.0]) == {(0, 1): 0.0}


def test_condorcets_cycle_is_found_and_an_order_is_none() -> None:
    assert votes.is_cyclic([(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    assert not votes.is_cyclic([(0, 1, 2), (0, 1, 2), (1, 2, 0)])
    assert not votes.is_cyclic([(0, 1, 2), (2, 1, 0)])
