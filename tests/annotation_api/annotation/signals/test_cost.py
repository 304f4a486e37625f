"""What speed costs in agreement, and the table of hours."""

from __future__ import annotations

import uuid
from datetime import date

import pytest

from annotation_api.annotation.signals.cost import what_speed_costs
from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.signals.hours import WorkDay, as_csv
from annotation_api.annotation.signals.researchers import agrees_with

KEYS = ("a", "b", "c")


def answer(task: int, person: int, ranks: tuple[int, ...], seconds: float | None) -> GivenAnswer:
    ids = (uuid.uuid4(), uuid.UUID(int=task), uuid.UUID(int=person))
    return GivenAnswer(*ids, KEYS, ranks, "", "", (300, 300, 300), 1000, seconds)


def test_who_hurries_contradicts_the_others() -> None:
    """Four people agree and take their time; a fifth turns one pair of three round, in a second."""
    careful = [answer(task, person, (0, 1, 2), 30.0 + person) for task in range(12) for person in range(4)]
    hasty = [answer(task, 9, (1, 0, 2), 1.0) for task in range(12)]
    fastest, *others = what_speed_costs(careful + hasty)
    assert fastest.answers == 15  # the twelve, and three that were careful
    assert fastest.agreement == (12 * 2 + 3 * 3) / (15 * 3)
    assert [quarter.agreement for quarter in others] == [1.0] * 3
    assert fastest.agreement_ci95[0] < fastest.agreement < fastest.agreement_ci95[1] < 1


def test_agreement_with_those_who_know_what_is_wanted() -> None:
    """By hand: a = b > c has of b > c > a one pair, half of a tie, and one the other way; then 2 of 2."""
    own = [answer(1, 5, (0, 0, 1), 9.0), answer(2, 5, (0, 1, 2), 9.0), answer(3, 5, (0, 1, 2), 9.0)]
    tasks = [str(uuid.UUID(int=task)) for task in (1, 2)]
    words = {tasks[0]: {"groups": [["b"], ["c"], ["a"]]}, tasks[1]: {"groups": [["a"], ["b", "c"]]}}
    found = agrees_with(own, words)
    assert found is not None
    assert (found.agreement, found.tasks) == ((1 + 0.5 + 0 + 2) / (3 + 2), 2)
    assert found.agreement_ci95[0] < found.agreement < found.agreement_ci95[1]
    assert agrees_with(own[2:], words) is None
    said = GivenAnswer(
        uuid.uuid4(), uuid.UUID(int=1), uuid.UUID(int=5), ("a",), (), *2 * ('{"x":true,"y":3}',), (9,), 9, 9.0
    )
    known = agrees_with([said], {tasks[0]: {"answers": {"x": True, "y": 4}}})
    assert known is not None
    assert known.agreement == 0.5


def test_few_answers_say_nothing() -> None:
    few = [answer(task, person, (0, 1, 2), 30.0) for task in range(9) for person in range(4)]
    assert what_speed_costs(few) == []
    untimed = [answer(task, person, (0, 1, 2), None) for task in range(20) for person in range(4)]
    assert what_speed_costs(untimed) == []


@pytest.mark.parametrize("before", ["", " ", "\u200b", ";"])
def test_a_name_is_no_formula_in_a_spreadsheet(before: str) -> None:
    day = WorkDay(
        day=date(2026, 11, 29), annotator="p", name=f"{before}=cmd()", tasks=1, corrections=0, untimed=0, seconds=1.5,
        low=1.0, median=1.5, high=None,
    )  # fmt: skip
    assert as_csv([day]).splitlines()[1] == f"2026-11-29,p,'{before}=cmd(),1,0,0,1.5,1.0,1.5,"
