"""What people said of one thing in values, not in orders: ratings, answers to questions, verdicts on rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotation_api.db.tallies.judgements import Judged
from annotation_api.db.tallies.sides import in_order

RATING = "rating"
NO_VALUES = "text"  # a kind of question whose answers are not compared


@dataclass(frozen=True)
class Given:
    """One person's value, as JSON."""

    by: str
    value: str
    day: str


@dataclass(frozen=True)
class Unit:
    """A thing that several people gave a value, and what they were asked of it."""

    subject: str  # rating, question ID, rule ID
    criterion: str
    given: tuple[Given, ...]

    def majority_without(self, one: Given) -> str | None:
        """What most of two others or more say; None where they are not of one mind."""
        others = [given.value for given in self.given if given.by != one.by]
        first, *rest = Counter(others).most_common(2)
        clear = len(others) >= 2 and (not rest or first[1] > rest[0][1])
        return first[0] if clear else None


def units_of(task: Sequence[Judged]) -> Iterator[Unit]:
    """The things in a task on which two people or more gave a value."""
    found: dict[tuple[str, str], list[Given]] = {}
    criteria: dict[str, str] = {}
    for one in task:
        for subject, thing, criterion, value in _values(one):
            criteria[subject] = criterion
            found.setdefault((subject, thing), []).append(Given(one.by, json.dumps(value), one.day))
    return (Unit(subject, criteria[subject], tuple(given)) for (subject, _), given in found.items() if len(given) > 1)


def _values(one: Judged) -> Iterator[tuple[str, str, str, Any]]:
    """(what was asked, of what, its criterion, the value)."""
    for response, rating in (one.payload.get("ratings") or {}).items():
        yield RATING, response, "", rating
    sampled = [item.id for item in one.items]
    for key, answer in (in_order(one.payload, one.shown, sampled, one.form.sided).get("answers") or {}).items():
        question = one.form.questions.get(key, {})
        if question.get("kind") != NO_VALUES:
            yield f"question {key}", "", question.get("criterion") or "", answer
    for key, verdict in (one.payload.get("verdicts") or {}).items():
        criterion = one.form.rules.get(key, {}).get("criterion") or "harmless"
        yield f"rule {key}", "", criterion, verdict
