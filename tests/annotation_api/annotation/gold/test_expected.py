"""What the answer to a gold item must be, and whether one is."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from annotation_api.annotation.gold.expected import Expected, is_met, problems_of
from annotation_api.db.forms import Question, QuestionsForm, RankingForm, Rule, RulesForm

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))
TEXTS = {A: "one", B: "two", C: "three"}
QUESTIONS = QuestionsForm(questions=(Question(id="right", text="Right?", kind="yes_no"),))
RULES = RulesForm(rules=(Rule(id="polite", text="Is polite."), Rule(id="short", text="Is short.")))


def groups(*order: Any) -> dict[str, Any]:
    """The payload of a ranking; a tuple is a tie."""
    return {"groups": [[str(key) for key in (one if isinstance(one, tuple) else (one,))] for one in order]}


def expected(**fields: Any) -> Expected:
    return Expected.model_validate(fields)


@pytest.mark.parametrize(
    ("order", "payload", "met"),
    [
        ([[A], [B], [C]], groups(A, B, C), True),
        ([[A], [B], [C]], groups(A, C, B), False),
        ([[A], [B], [C]], groups(A, (B, C)), False),  # a tie across groups
        ([[A], [B, C]], groups(A, C, B), True),  # within a group any order is right
        ([[A], [B, C]], groups(A, (B, C)), True),
        ([[A], [C]], groups(B, A, C), True),  # what is left out may stand anywhere
        ([[A], [C]], groups(C, B, A), False),
    ],
)
def test_an_order(order: Any, payload: dict[str, Any], met: bool) -> None:
    assert is_met(expected(order=order), payload) is met


@pytest.mark.parametrize(
    ("place", "payload", "met"),
    [
        ("best", groups(B, A, C), True),
        ("best", groups((A, B), C), True),
        ("best", groups(A, B, C), False),
        ("not_best", groups((A, B), C), False),
        ("last", groups(A, C, B), True),
        ("last", groups(A, (B, C)), True),
        ("not_last", groups(A, B, C), True),
        ("not_last", groups(A, C, B), False),
        ("not_last", groups((A, B, C)), False),
    ],
)
def test_where_one_response_stands(place: str, payload: dict[str, Any], met: bool) -> None:
    assert is_met(expected(constraints=[{"response": B, "place": place}]), payload) is met


def test_all_constraints_must_hold_and_a_tie_is_not_better() -> None:
    both = expected(constraints=[{"better": A, "worse": C}, {"response": B, "place": "not_last"}])
    assert is_met(both, groups(B, A, C))
    assert not is_met(both, groups(B, (A, C)))
    assert not is_met(both, groups(A, C, B))


def test_answers_and_verdicts_that_are_named() -> None:
    assert is_met(expected(answers={"right": True}), {"answers": {"right": True, "why": "x"}})
    assert not is_met(expected(answers={"right": True}), {"answers": {"right": 1}})  # another type is another answer
    assert not is_met(expected(answers={"right": True}), {"answers": {}})
    assert is_met(expected(verdicts={"polite": "broken"}), {"verdicts": {"polite": "broken", "short": "kept"}})
    assert not is_met(expected(verdicts={"polite": "broken"}), {"verdicts": {"polite": "unsure"}})


def test_one_kind_of_expectation_is_given() -> None:
    for wrong in ({}, {"order": [[A], [B]], "verdicts": {"polite": "kept"}}):
        with pytest.raises(ValidationError, match="give one of order, constraints, answers and verdicts"):
            expected(**wrong)


@pytest.mark.parametrize(
    ("wanted", "form", "says"),
    [
        ({"verdicts": {"polite": "kept"}}, RankingForm(), "give an order or constraints"),
        ({"order": [[A], [uuid.UUID(int=9)]]}, RankingForm(), "does not belong to the task"),
        ({"order": [[A], [B, A]]}, RankingForm(), "stands in the order twice"),
        ({"constraints": [{"better": A, "worse": B}, {"better": B, "worse": A}]}, RankingForm(), "No order"),
        ({"constraints": [{"response": A, "place": "best"}, {"better": B, "worse": A}]}, RankingForm(), "No order"),
        ({"order": [[A], [B]]}, QUESTIONS, "give answers"),
        ({"answers": {"wrong": True}}, QUESTIONS, "does not ask this"),
        ({"answers": {"right": "yes"}}, QUESTIONS, "takes true or false"),
        ({"order": [[A], [B]]}, RULES, "give verdicts"),
        ({"verdicts": {"rude": "kept"}}, RULES, "not asked here. Asked: polite, short"),
    ],
)
def test_what_cannot_be_the_answer_is_refused(wanted: dict[str, Any], form: Any, says: str) -> None:
    assert says in problems_of(expected(**wanted), form, TEXTS, None)[0].message


def test_identical_responses_cannot_be_told_apart() -> None:
    texts = {A: "same", B: "same", C: "other"}
    assert "Identical" in problems_of(expected(order=[[A], [B]]), RankingForm(), texts, None)[0].message
    assert problems_of(expected(order=[[A, B], [C]]), RankingForm(), texts, None) == []
    last = expected(constraints=[{"response": A, "place": "last"}])
    assert problems_of(last, RankingForm(), texts, None) == []
