"""What a reward model prefers, kept so that another can be compared with it."""

from __future__ import annotations

from alignment.reward.report import measures
from alignment.shared.records import Prompt, Ranking


def ranking(prompt: str, *responses: str) -> Ranking:
    groups = tuple((i,) for i in range(len(responses)))
    return Ranking(prompt=Prompt.from_text(prompt), responses=responses, groups=groups)


def test_the_order_of_responses_changes_no_preference_and_a_tie_is_half() -> None:
    told = measures.preferences([ranking("P?", "a", "b", "c")], [[2.0, 1.0, 2.0]])
    turned = measures.preferences([ranking("P?", "c", "b", "a")], [[2.0, 1.0, 2.0]])
    assert told == turned
    assert sorted(told.values()) == [0.0, 0.5, 1.0]  # a over b; a ties c; c over b, so b, the first, is not preferred
    assert len({pair.partition("-")[0] for pair in told}) == 1, "they share a prompt"


def test_models_that_were_measured_on_the_same_keep_the_same_pairs() -> None:
    many = [ranking(f"P{i}?", "a", "b", "c") for i in range(measures.PAIRS_KEPT)]
    first = measures.preferences(many, [[3.0, 1.0, 2.0]] * len(many))
    second = measures.preferences(many[::-1], [[1.0, 2.0, 3.0]] * len(many))
    assert len(first) == measures.PAIRS_KEPT
    assert first.keys() == second.keys()
