"""How far answers lie apart, against numbers worked by hand."""

from __future__ import annotations

import pytest

from annotation_api.annotation.review.disputes import disagreement, distance


def ranked(*groups: str) -> dict[str, object]:
    """`ranked("a", "bc")`: a first, b and c tied."""
    return {"groups": [list(group) for group in groups]}


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (ranked("a", "b", "c"), ranked("a", "b", "c"), 0),
        (ranked("a", "b", "c"), ranked("c", "b", "a"), 1),
        (ranked("a", "b", "c"), ranked("b", "a", "c"), 1 / 3),  # one pair of three
        (ranked("a", "b", "c"), ranked("a", "bc"), 1 / 6),  # a tie against an order counts half
        (ranked("abc"), ranked("a", "b", "c"), 1 / 2),
        ({"answers": {"x": True, "y": 3}}, {"answers": {"x": True, "y": 4}}, 1 / 2),
        ({"answers": {"x": True}}, {"answers": {"x": True, "y": 4}}, 1 / 2),  # what one was not asked
        ({"verdicts": {"p": "kept"}}, {"verdicts": {"p": "broken"}}, 1),
    ],
)
def test_two_answers(one: dict[str, object], other: dict[str, object], apart: float) -> None:
    assert distance(one, other) == pytest.approx(apart)
    assert distance(other, one) == pytest.approx(apart)


def test_several_answers_are_as_far_apart_as_their_pairs_on_the_mean() -> None:
    three = [ranked("a", "b"), ranked("a", "b"), ranked("b", "a")]
    assert disagreement(three) == pytest.approx(2 / 3)
    assert disagreement(three[:1]) == 0
    assert disagreement([]) == 0
