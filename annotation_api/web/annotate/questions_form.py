"""A questions task as a form: what stands in it, and the answers that it gives.

Without scripts every question is on the page, also those that only count after some answers; what
was entered for a question that is not asked is left out here. The frame adds flags, note and better answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.forms import Question, QuestionsForm
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate.extras import lines_of

TEMPLATE = "_questions.html"
KEYS = "1234567890"
Value = str | int | bool


@dataclass(frozen=True)
class Choice:
    """One answer to pick: its value in the form, its words (a scale's step has none), its key."""

    value: str
    text: str
    key: str


@dataclass(frozen=True)
class Row:
    """A question as the page shows it, with what stands in it."""

    question: Question
    value: str
    choices: list[Choice]
    waits_for: str  # the text of the question on whose answer it depends; empty: always asked
    awaited: list[str]  # the answers that it waits for, in words
    awaited_values: str  # the same as the form holds them: JSON for the script

    @property
    def field(self) -> str:
        return field_of(self.question)


@dataclass(frozen=True)
class EnteredAnswers:
    """What stands in the form, by id of the question, as typed; a fresh one has nothing chosen."""

    answers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fresh(cls) -> Self:
        return cls()

    @classmethod
    def from_submission(cls, payload: Mapping[str, Any], shown: AssignmentOut) -> Self:
        return cls({key: typed(value) for key, value in payload.get("answers", {}).items()})

    def rows(self, shown: AssignmentOut) -> list[Row]:
        """The questions in their order, for the template."""
        spec = _spec(shown)
        return [_row(spec, question, self.answers.get(question.id, "")) for question in spec.questions]


def read(form: FormData, shown: AssignmentOut) -> EnteredAnswers:
    """The answers of a posted form; an empty one is none."""
    given = {question.id: lines_of(form, field_of(question)).strip() for question in _spec(shown).questions}
    return EnteredAnswers({key: text for key, text in given.items() if text})


def payload(entered: EnteredAnswers, shown: AssignmentOut) -> dict[str, Any]:
    """The answers to the questions that are asked. ApiError 422 names a question without a fitting answer."""
    spec = _spec(shown)
    given = {question.id: _value(question, entered.answers.get(question.id, "")) for question in spec.questions}
    asked = spec.asked({key: value for key, value in given.items() if value is not None})
    answers: dict[str, Value] = {}
    missing: list[Question] = []
    for question in asked:
        value = given[question.id]
        if value is None:
            missing += [question] if question.required else []
        elif not question.takes(value):
            raise ApiError(
                422,
                "invalid",
                Sentence(
                    "question-takes",
                    "“%(question)s” takes %(expects)s.",
                    question=question.text,
                    expects=question.expects,
                ),
            )
        else:
            answers[question.id] = value
    if missing:
        named = ", ".join(f"“{question.text}”" for question in missing)
        raise ApiError(422, "invalid", Sentence("not-answered", "Not answered yet: %(named)s.", named=named))
    return {"answers": answers}


def _spec(shown: AssignmentOut) -> QuestionsForm:
    assert isinstance(shown.form, QuestionsForm)
    return shown.form


def _value(question: Question, text: str) -> Value | None:
    """What the typed `text` means to the question; text that means nothing to it stays as it is."""
    if not text:
        return None
    if question.kind == "yes_no":
        return {"yes": True, "no": False}.get(text, text)
    if question.kind == "scale":
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 2 else text
    return text


def typed(value: Value) -> str:
    """An answer as the form holds it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def field_of(question: Question) -> str:
    """The name of the question's field."""
    return f"answer-{question.id}"


def choices_of(question: Question) -> list[Choice]:
    """The answers to pick from, in order; none for a text."""
    if question.kind == "yes_no":
        return [Choice("yes", "Yes", "y"), Choice("no", "No", "n")]
    if question.kind == "scale":
        steps = range(question.least, question.most + 1)
        return [Choice(str(step), str(step), _scale_key(step, question.least)) for step in steps]
    return [
        Choice(option.id, option.text, KEYS[place] if place < len(KEYS) else "")
        for place, option in enumerate(question.options)
    ]


def _scale_key(step: int, least: int) -> str:
    """A step's own digit; the key 0 stands for 10 on a scale that does not begin at 0."""
    return str(step) if step < 10 else "0" if least else ""


def _row(spec: QuestionsForm, question: Question, value: str) -> Row:
    choices = choices_of(question)
    if question.when is None:
        return Row(question, value, choices, "", [], "[]")
    earlier = next(each for each in spec.questions if each.id == question.when.question)
    words = {choice.value: choice.text for choice in choices_of(earlier)}
    values = [typed(answer) for answer in question.when.answers]
    return Row(question, value, choices, earlier.text, [words.get(each, each) for each in values], json.dumps(values))
