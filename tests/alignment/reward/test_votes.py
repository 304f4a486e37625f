"""Several annotators of one task: agreement, reliability, majority, cycles; by hand."""

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
    tasks = [[("ann", (0, 1)), ("bob", (0, 1)), ("eve", (1, 0))]] * 3
    assert votes.reliabilities(tasks) == {"ann": 0.0, "bob": 0.0, "eve": 0.0}  # one of two agrees: a coin
    four = [[("ann", (0, 1)), ("bob", (0, 1)), ("cat", (0, 1)), ("eve", (1, 0))]] * 3
    assert votes.reliabilities(four) == pytest.approx({"ann": 1 / 3, "bob": 1 / 3, "cat": 1 / 3, "eve": 0.0})


def test_who_shares_no_task_counts_as_usual() -> None:
    known = votes.reliabilities([[("ann", (0, 1)), ("bob", (0, 1))], [("zoe", (0, 1))]])
    assert known == {"ann": 1.0, "bob": 1.0}
    assert votes.by_reliability(["ann", "zoe", None], {"ann": 0.2, "bob": 0.6}) == pytest.approx([0.2, 0.4, 0.4])
    assert votes.by_reliability(["zoe"], {}) == [1.0]


def test_majority_decides_each_pair_by_count() -> None:
    found = votes.majority([(0, 1, 2), (0, 2, 1), (1, 0, 2)], [1.0, 1.0, 1.0])
    assert found == {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 1.0}
    assert votes.majority([(0, 1), (1, 0)], [1.0, 1.0]) == {(0, 1): 0.5}
    assert votes.majority([(0, 1), (1, 0)], [1.0, 3.0]) == {(0, 1): 0.0}


def test_condorcets_cycle_is_found_and_an_order_is_none() -> None:
    assert votes.is_cyclic([(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    assert not votes.is_cyclic([(0, 1, 2), (0, 1, 2), (1, 2, 0)])
    assert not votes.is_cyclic([(0, 1, 2), (2, 1, 0)])
