"""What the answer to a gold item must be, and whether one is."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from annotation_api.annotation.gold.expected import Expected, Place, is_met, problems_of
from annotation_api.db.forms import Condition, Question, QuestionsForm, RankingForm, Rule, RulesForm

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))
TEXTS = {A: "one", B: "two", C: "three"}
QUESTIONS = QuestionsForm(
    questions=(
        Question(id="right", text="Right?", kind="yes_no"),
        Question(id="why", text="Why?", kind="text", when=Condition(question="right", answers=(False,))),
        Question(id="sure", text="Sure?", kind="yes_no", when=Condition(question="right", answers=(False,))),
        Question(id="how", text="How?", kind="scale", when=Condition(question="sure", answers=(True,))),
        Question(id="glad", text="Glad?", kind="yes_no", when=Condition(question="right", answers=(True,))),
    )
)
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
        ({"answers": {"why": "It is not."}}, QUESTIONS, "Nobody finds the same words twice"),
        ({"answers": {"right": True, "sure": True}}, QUESTIONS, "not asked this: it depends on right"),
        ({"answers": {"right": True, "how": 3}}, QUESTIONS, "not asked this: it depends on right"),
        ({"answers": {"sure": False, "how": 3}}, QUESTIONS, "not asked this: it depends on sure"),
        ({"answers": {"sure": True, "glad": True}}, QUESTIONS, "not asked this: it depends on right"),
        ({"order": [[A], [B]]}, RULES, "give verdicts"),
        ({"verdicts": {"rude": "kept"}}, RULES, "not asked here. Asked: polite, short"),
    ],
)
def test_what_cannot_be_the_answer_is_refused(wanted: dict[str, Any], form: Any, says: str) -> None:
    assert says in problems_of(expected(**wanted), form, TEXTS, None)[0].message


def test_answers_that_one_person_may_give_are_expected() -> None:
    for answers in ({"how": 3}, {"right": False, "sure": True, "how": 3}, {"right": True, "glad": False}):
        assert problems_of(expected(answers=answers), QUESTIONS, TEXTS, None) == []


@pytest.mark.parametrize("texts", [TEXTS, {A: "one", B: "one", C: "three"}, {A: "same", B: "same", C: "same"}])
def test_constraints_are_refused_where_no_order_keeps_them(texts: dict[uuid.UUID, str]) -> None:
    """Against every order of the different texts."""
    ones: list[dict[str, Any]] = [{"response": key, "place": place} for key in texts for place in get_args(Place)]
    ones += [{"better": a, "worse": b} for a, b in itertools.permutations(texts, 2) if texts[a] != texts[b]]
    together: dict[str, list[uuid.UUID]] = {}
    for key, text in texts.items():
        together.setdefault(text, []).append(key)
    orders = [groups(*map(tuple, order)) for order in itertools.permutations(together.values())]
    for size in (1, 2, 3):
        for some in itertools.combinations(ones, size):
            wanted = expected(constraints=some)
            possible = any(is_met(wanted, order) for order in orders)
            assert (problems_of(wanted, RankingForm(), texts, None) == []) is possible, some


def test_nine_responses_are_as_quickly_refused_as_two() -> None:
    keys = [uuid.UUID(int=number) for number in range(1, 10)]
    texts = {key: str(key) for key in keys}
    circle = [{"better": keys[0], "worse": keys[1]}, {"response": keys[1], "place": "best"}]
    before = time.process_time()
    assert "No order" in problems_of(expected(constraints=circle), RankingForm(), texts, None)[0].message
    assert time.process_time() - before < 1  # 362,880 orders take half a minute


def test_identical_responses_cannot_be_told_apart() -> None:
    texts = {A: "same", B: "same", C: "other"}
    assert "Identical" in problems_of(expected(order=[[A], [B]]), RankingForm(), texts, None)[0].message
    assert problems_of(expected(order=[[A, B], [C]]), RankingForm(), texts, None) == []
    last = expected(constraints=[{"response": A, "place": "last"}])
    assert problems_of(last, RankingForm(), texts, None) == []
