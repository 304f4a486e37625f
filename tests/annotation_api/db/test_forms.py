"""What a form may ask, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy.orm import Session

from alignment.shared.validation import explain
from annotation_api.annotation.tasks.schemas import NewProject
from annotation_api.db import form_rows
from annotation_api.db.forms import Question, QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.tables import FeedbackKind

YES_NO: dict[str, Any] = {"id": "clear", "text": "Is it clear?", "kind": "yes_no"}
SCALE: dict[str, Any] = {"id": "depth", "text": "How deep?", "kind": "scale", "least": 0, "most": 3}
CHOICE: dict[str, Any] = {
    "id": "better",
    "text": "Which is better?",
    "kind": "choice",
    "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}],
}
WHY: dict[str, Any] = {
    "id": "why",
    "text": "Why not?",
    "kind": "text",
    "when": {"question": "clear", "answers": [False]},
}


@pytest.mark.parametrize(
    ("question", "good", "bad"),
    [
        (YES_NO, [True, False], [1, 0, "yes", "true"]),
        (SCALE, [0, 3], [-1, 4, True, "2"]),
        (CHOICE, ["a", "b"], ["c", "A", 1, True]),
        (WHY, ["for a reason"], ["", "  ", "x" * 4001, 1, True]),
    ],
)
def test_a_question_takes_its_own_answers_only(question: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    asked = Question.model_validate(question)
    assert all(asked.takes(answer) for answer in good)
    assert not any(asked.takes(answer) for answer in bad)


def test_a_condition_is_asked_when_its_answer_came_and_its_own_question_was_asked() -> None:
    deeper = {"id": "deeper", "text": "And?", "kind": "text", "when": {"question": "why", "answers": ["so"]}}
    form = QuestionsForm.model_validate({"questions": [YES_NO, WHY, deeper]})

    def asked(**answers: str | int | bool) -> list[str]:
        return [question.id for question in form.asked(answers)]

    assert asked() == ["clear"]
    assert asked(clear=True, why="so") == ["clear"]  # what hangs on an unasked question is not asked
    assert asked(clear=False) == ["clear", "why"]
    assert asked(clear=False, why="so") == ["clear", "why", "deeper"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "questions", "questions": [WHY]}, "depends on clear, not asked before it"),
        ({"kind": "questions", "questions": [YES_NO, WHY | {"when": {"question": "clear", "answers": [0]}}]}, "never"),
        ({"kind": "questions", "questions": [YES_NO, YES_NO]}, "the id 'clear' stands twice"),
        ({"kind": "questions", "questions": [SCALE | {"most": 0}]}, "Input should be greater than or equal to 1"),
        ({"kind": "questions", "questions": [SCALE | {"least": 3}]}, "a scale rises"),
        ({"kind": "questions", "questions": [CHOICE | {"options": []}]}, "two options or more"),
        ({"kind": "questions", "questions": [YES_NO | {"options": CHOICE["options"]}]}, "options belong to a choice"),
        ({"kind": "rules", "rules": []}, "at least 1 item"),
        ({"kind": "ranking", "flags": [{"id": "PII!", "text": "x"}]}, "should match pattern"),
    ],
)
def test_a_form_that_cannot_be_filled_in_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read_form(spec)


def test_a_pointer_into_a_form_holds_no_tag_and_names_the_near_miss() -> None:
    with pytest.raises(ValidationError) as caught:
        NewProject.model_validate({"name": "P", "forms": [{"kind": "rules", "rules": [{"id": "r", "txt": "No."}]}]})
    problems = {problem.pointer: problem.message for problem in explain(caught.value, NewProject)}
    assert set(problems) >= {"/forms/0/rules/0/text", "/forms/0/rules/0/txt"}
    assert not any("/forms/0/rules/rules" in pointer for pointer in problems)
    assert "Did you mean 'text'?" in problems["/forms/0/rules/0/txt"]


def test_an_unchanged_form_is_no_new_version(session: Session, make: Any) -> None:
    project, person = make.project(forms=[]), make.person()
    rules = RulesForm.model_validate({"rules": [{"id": "kind", "text": "Be kind."}]})
    first = form_rows.add_form(session, project.id, rules, person.id)
    assert form_rows.add_form(session, project.id, rules, person.id).id == first.id
    second = form_rows.add_form(session, project.id, rules.model_copy(update={"probe": True}), person.id)
    form_rows.add_form(session, project.id, RankingForm(), person.id)
    assert second.version == 2
    newest = form_rows.newest_forms(session, project.id)
    assert {kind: form.version for kind, form in newest.items()} == {FeedbackKind.RULES: 2, FeedbackKind.RANKING: 1}
    assert read_form(newest[FeedbackKind.RULES].spec) == rules.model_copy(update={"probe": True})
