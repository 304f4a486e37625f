"""What an answer says, for a reader: letters for the responses, words for questions and rules. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.annotation.gold.expected import Expected, ExpectedPair
from annotation_api.annotation.tasks.schemas import ShownResponse
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm

Form = RankingForm | QuestionsForm | RulesForm
Letters = Mapping[str, str]  # by response id


def letters(responses: Sequence[ShownResponse]) -> dict[str, str]:
    """A, B, ... in the order given; nine at most."""
    return {str(response.id): chr(ord("A") + place) for place, response in enumerate(responses)}


def in_short(payload: Mapping[str, Any], names: Letters) -> str:
    """`B › A = C`, with the orders by criteria ranked apart, or the answers one after another; for `_`."""
    if "groups" in payload:
        told = order(payload["groups"], names)
        for criterion, groups in payload.get("apart", {}).items():
            apart = order(groups, names)
            told = Sentence(
                "order-apart", "%(told)s · %(criterion)s: %(apart)s", told=told, criterion=criterion, apart=apart
            )
        return told
    given = payload.get("answers") or payload.get("verdicts") or {}
    return " · ".join(f"{key}: {value}" for key, value in given.items())


def order(groups: Sequence[Sequence[object]], names: Letters) -> str:
    return " › ".join(" = ".join(sorted(names.get(str(key), "?") for key in group)) for group in groups)


def ranks(payload: Mapping[str, Any]) -> dict[str, int]:
    """The rank of each response, from 1; empty for what is no ranking."""
    return {key: place for place, group in enumerate(payload.get("groups", ()), start=1) for key in group}


def in_full(payload: Mapping[str, Any], form: Form) -> list[tuple[str, str]]:
    """(question or rule, what was said) in the form's order; of a ranking, what goes beyond the order."""
    if isinstance(form, QuestionsForm):
        given = payload["answers"]
        return [(one.text, _answer(one, given[one.id])) for one in form.questions if one.id in given]
    if isinstance(form, RulesForm):
        given = payload["verdicts"]
        return [(rule.text, given[rule.id]) for rule in form.rules if rule.id in given]
    return []


def _answer(question: Any, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    named = {option.id: option.text for option in question.options}
    return named.get(value, str(value)) if isinstance(value, str) else str(value)


def expected_in_short(expected: Expected, names: Letters) -> str:
    """What a gold item wants, as it is entered: `A > B`, `A: best`, `polite: kept`; for `_`."""
    if expected.order is not None:
        return order(expected.order, names)
    if expected.constraints is not None:
        told = [_constraint(one, names) for one in expected.constraints]
        return reduce(lambda first, then: Sentence("listed", "%(first)s, %(then)s", first=first, then=then), told)
    given: Mapping[str, object] = expected.answers or dict(expected.verdicts or {})
    return " · ".join(f"{key}: {value}" for key, value in given.items())


def _constraint(one: Any, names: Letters) -> str:
    if isinstance(one, ExpectedPair):
        return f"{names[str(one.better)]} › {names[str(one.worse)]}"
    letter, place = names[str(one.response)], one.place.replace("_", " ")
    return Sentence("letter-placed", "%(letter)s: %(place)s", letter=letter, place=place)


def flagged(payload: Mapping[str, Any], names: Letters) -> str:
    """`A: unsafe` for each flag of each response."""
    flags: Mapping[str, Sequence[str]] = payload.get("flags", {})
    return ", ".join(f"{names.get(key, '?')}: {flag}" for key, found in flags.items() for flag in found)


def as_ids(letter_list: Sequence[str], names: Letters) -> list[uuid.UUID]:
    """The responses of the letters. KeyError for a letter that no response has."""
    by_letter = {letter: key for key, letter in names.items()}
    return [uuid.UUID(by_letter[letter]) for letter in letter_list]
