"""Questions and rules from the fields of a form to a payload. Pure: no database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from annotation_api.annotation.submissions.checks import problems_of
from annotation_api.annotation.submissions.schemas import QuestionsPayload, RulesPayload
from annotation_api.annotation.tasks.schemas import AssignmentOut, ShownResponse
from annotation_api.db.forms import QuestionsForm, RulesForm, read_form
from annotation_api.db.tables import FeedbackKind
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate import questions_form, rules_form

QUESTIONS = QuestionsForm.model_validate(
    {
        "questions": [
            {"id": "clear", "text": "Is it clear?", "kind": "yes_no"},
            {"id": "why", "text": "Why not?", "kind": "text", "when": {"question": "clear", "answers": [False]}},
            {"id": "good", "text": "How good?", "kind": "scale", "most": 10},
            {
                "id": "use",
                "text": "Use it?",
                "kind": "choice",
                "options": [{"id": "as_is", "text": "As it is"}, {"id": "edited", "text": "Edited"}],
                "required": False,
                "when": {"question": "good", "answers": [9, 10]},
            },
            {"id": "edit", "text": "Edit what?", "kind": "text", "when": {"question": "use", "answers": ["edited"]}},
        ]
    }
)
RULES = RulesForm.model_validate({"rules": [{"id": "one", "text": "One."}, {"id": "two", "text": "Two."}]})


def shown(form: Any, rules: list[str] | None = None) -> AssignmentOut:
    return AssignmentOut(
        assignment=uuid.uuid4(),
        task=uuid.uuid4(),
        project=uuid.uuid4(),
        kind=FeedbackKind(form.kind),
        form=form,
        rules=rules,
        prompt={"messages": [{"role": "user", "content": "?"}]},
        responses=[ShownResponse(id=uuid.uuid4(), text="text")],
        lease_until=datetime.now(UTC),
        draft=None,
    )


def answers(**fields: str) -> dict[str, Any]:
    task = shown(QUESTIONS)
    form = FormData([(f"answer-{key}", value) for key, value in fields.items()])
    return questions_form.payload(questions_form.read(form, task), task)["answers"]


def test_answers_take_the_types_of_their_questions() -> None:
    assert answers(clear="yes", good="10", use="edited", edit=" a\r\nb ") == {
        "clear": True,
        "good": 10,
        "use": "edited",
        "edit": "a\nb",
    }


def test_what_is_not_asked_is_left_out() -> None:
    """Without scripts every field is on the page; a chain falls with its first link."""
    assert answers(clear="yes", why="left over", good="3", use="edited", edit="left over") == {"clear": True, "good": 3}
    assert answers(clear="no", why="words", good="9") == {"clear": False, "why": "words", "good": 9}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Not answered yet: “Is it clear?”, “How good?”."),
        ({"clear": "no", "good": "1"}, "Not answered yet: “Why not?”."),
        ({"clear": "no", "why": "   ", "good": "1"}, "Not answered yet: “Why not?”."),
        ({"clear": "maybe", "good": "1"}, "“Is it clear?” takes true or false."),
        ({"clear": "yes", "good": "11"}, "“How good?” takes a whole number from 1 to 10."),
        ({"clear": "yes", "good": "²"}, "“How good?” takes a whole number from 1 to 10."),
        ({"clear": "yes", "good": "9", "use": "other"}, "“Use it?” takes one of as_is, edited."),
        ({"clear": "no", "why": "x" * 4001, "good": "1"}, "“Why not?” takes some words, at most 4000 characters."),
    ],
)
def test_an_unfit_answer_is_named_by_its_question(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ApiError) as caught:
        answers(**fields)
    assert caught.value.detail == says


WORDS = st.sampled_from(["", "yes", "no", "1", "9", "10", "as_is", "edited", "words", "11"])


@given(st.fixed_dictionaries({question.id: WORDS for question in QUESTIONS.questions}))
def test_a_payload_of_the_page_is_one_that_the_service_takes(fields: dict[str, str]) -> None:
    """And an answer that was stored comes back into the form as it was."""
    task = shown(QUESTIONS)
    try:
        given_answers = answers(**fields)
    except ApiError:
        return
    payload = QuestionsPayload.model_validate({"answers": given_answers})
    assert problems_of(QUESTIONS, payload, {task.responses[0].id: "text"}, None) == []
    before = questions_form.EnteredAnswers.from_submission(payload.model_dump(mode="json"), task)
    assert questions_form.payload(before, task) == {"answers": given_answers}


def test_rows_say_what_a_question_waits_for() -> None:
    rows = {row.question.id: row for row in questions_form.EnteredAnswers.fresh().rows(shown(QUESTIONS))}
    assert (rows["why"].waits_for, rows["why"].awaited, rows["why"].awaited_values) == (
        "Is it clear?",
        ["No"],
        '["no"]',
    )
    assert (rows["edit"].awaited, rows["edit"].awaited_values) == (["Edited"], '["edited"]')
    assert rows["use"].awaited_values == '["9", "10"]'
    assert rows["clear"].waits_for == ""
    assert all(row.value == "" for row in rows.values())


@pytest.mark.parametrize(
    ("least", "most", "keys"),
    [(1, 5, "12345"), (1, 10, "1234567890"), (0, 10, "0123456789")],
)
def test_no_key_stands_twice(least: int, most: int, keys: str) -> None:
    question = QUESTIONS.questions[2].model_copy(update={"least": least, "most": most})
    assert "".join(choice.key for choice in questions_form.choices_of(question)) == keys


def test_each_rule_of_the_task_gets_its_verdict() -> None:
    both, probe = shown(RULES), shown(RULES, ["two"])
    form = FormData([("rule-one", "kept"), ("rule-two", "broken")])
    assert rules_form.payload(rules_form.read(form, both), both) == {"verdicts": {"one": "kept", "two": "broken"}}
    verdicts = rules_form.payload(rules_form.read(form, probe), probe)
    assert verdicts == {"verdicts": {"two": "broken"}}
    payload = RulesPayload.model_validate(verdicts)
    assert problems_of(RULES, payload, {probe.responses[0].id: "text"}, ["two"]) == []
    again = rules_form.EnteredVerdicts.from_submission(payload.model_dump(mode="json"), probe)
    assert [(rule.id, verdict) for rule, verdict in again.rows(probe)] == [("two", "broken")]


@pytest.mark.parametrize("verdict", ["", "broke"])
def test_a_rule_without_a_verdict_is_named(verdict: str) -> None:
    task = shown(RULES)
    form = FormData([("rule-one", "kept"), ("rule-two", verdict)])
    with pytest.raises(ApiError) as caught:
        rules_form.payload(rules_form.read(form, task), task)
    assert "“Two.”" in caught.value.detail
    assert "One." not in caught.value.detail


def test_forms_of_the_database_reach_the_page() -> None:
    assert read_form(QUESTIONS.model_dump(mode="json")) == QUESTIONS
