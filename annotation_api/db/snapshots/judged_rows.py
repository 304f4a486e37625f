"""What people judged in a project, as the rows of a snapshot: rankings, answers, verdicts, better answers.

The current judgements only (superseded ones are left out), oldest first. Wordings and criteria are those
of the form version that the task was judged by, so a later version of the form changes no frozen line.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, exists, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from alignment.shared.records import Answer, Answers, Demonstration, Prompt, Ranking, RuleVerdict
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.snapshots.frozen_rows import BATCH, FreezeError, Frozen, Stored
from annotation_api.db.tables import (
    Assignment,
    FeedbackKind,
    Form,
    Person,
    PromptRow,
    ResponseRow,
    Submission,
    Task,
    TaskResponse,
)


@dataclass(frozen=True)
class ReadSubmission:
    """One submission with all that it refers to. `texts` are the task's responses by id, in sampling order."""

    submission: uuid.UUID
    task: uuid.UUID
    annotator: str
    payload: Mapping[str, Any]
    prompt: Prompt
    texts: Mapping[str, str]
    shown: tuple[str, ...]  # response ids in the order on the page: A, B, ...
    form: RankingForm | QuestionsForm | RulesForm
    version: int

    @property
    def lineage(self) -> dict[str, str]:
        return {"submission": str(self.submission), "task": str(self.task), "form_version": str(self.version)}

    def of_each(self, name: str, ids: Iterable[str]) -> tuple[tuple[str, ...], ...] | None:
        """What the payload says of each response under `name`; None when it says nothing."""
        said = self.payload.get(name)
        return tuple(tuple(said.get(key, ())) for key in ids) if said else None


def rankings(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """Raises FreezeError for a judgement that is no order of its task's responses."""
    return _made(session, project_id, _ranking, Submission.kind == FeedbackKind.RANKING)


def answers(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """One record a submission. Raises FreezeError for an answer to what the form does not ask."""
    return _made(session, project_id, _answers, Submission.kind == FeedbackKind.QUESTIONS)


def verdicts(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """One record a rule. Raises FreezeError for a verdict on a rule that the form does not have."""
    return _made(session, project_id, _verdicts, Submission.kind == FeedbackKind.RULES)


def demonstrations(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """The better answers that were written in tasks of any kind."""
    return _made(session, project_id, _demonstrations, Submission.payload.has_key("demonstration"))


def _made(
    session: Session,
    project_id: uuid.UUID,
    make: Callable[[ReadSubmission], Iterable[Stored]],
    which: ColumnElement[bool],
) -> Iterator[Frozen]:
    """What `make` makes of each judgement, each with the submission that it came from."""
    for judgement in _submissions(session, project_id, which):
        try:
            made = list(make(judgement))
        except (KeyError, ValueError) as error:
            what = {"ranking": "order of the responses", "questions": "answer to the questions"}
            named = what.get(judgement.form.kind, "verdict on the rules")
            raise FreezeError(
                f"submission {judgement.submission} is no {named} of task {judgement.task}: {error}"
            ) from error
        yield from (Frozen(record, submission_id=judgement.submission) for record in made)


def _ranking(judged: ReadSubmission) -> Iterator[Ranking]:
    place = {response: index for index, response in enumerate(judged.texts)}
    ratings = judged.payload.get("ratings")
    own = judged.form.criterion if isinstance(judged.form, RankingForm) else None
    yield Ranking(
        prompt=judged.prompt,
        responses=tuple(judged.texts.values()),
        groups=tuple(tuple(sorted(place[response] for response in group)) for group in judged.payload["groups"]),
        strength=judged.payload.get("strength"),
        all_bad=judged.payload.get("all_bad", False),
        ratings=tuple(ratings[response] for response in judged.texts) if ratings else None,
        flags=judged.of_each("flags", judged.texts),
        broken_rules=judged.of_each("broken", judged.texts),
        rationale=judged.payload.get("note"),
        criterion=own or judged.prompt.criterion,
        annotator=judged.annotator,
        lineage=judged.lineage,
    )


def _answers(judged: ReadSubmission) -> Iterator[Answers]:
    """In the form's order. A pair stands in the order in which it was shown: the questions call it A and B."""
    questions = judged.form.questions if isinstance(judged.form, QuestionsForm) else ()
    asked = {question.id: question for question in questions}
    given = judged.payload["answers"]
    if stray := sorted(given.keys() - asked.keys()):
        raise ValueError(f"the form does not ask {stray[0]}")
    yield Answers(
        prompt=judged.prompt,
        responses=tuple(judged.texts[response] for response in judged.shown),
        answers=tuple(
            Answer(question=key, text=question.text, value=given[key], criterion=question.criterion)
            for key, question in asked.items()
            if key in given
        ),
        flags=judged.of_each("flags", judged.shown),
        rationale=judged.payload.get("note"),
        annotator=judged.annotator,
        lineage=judged.lineage,
    )


def _verdicts(judged: ReadSubmission) -> Iterator[RuleVerdict]:
    """In the form's order, one for each rule that was probed."""
    rules = {rule.id: rule for rule in (judged.form.rules if isinstance(judged.form, RulesForm) else ())}
    given = judged.payload["verdicts"]
    if stray := sorted(given.keys() - rules.keys()):
        raise ValueError(f"the form has no rule {stray[0]}")
    (response, text), *more = judged.texts.items()
    if more:
        raise ValueError(f"rules are probed on one response, the task has {len(judged.texts)}")
    for key, rule in rules.items():
        if key in given:
            yield RuleVerdict(
                prompt=judged.prompt,
                response=text,
                rule=key,
                text=rule.text,
                verdict=given[key],
                criterion=rule.criterion,
                flags=tuple(judged.payload.get("flags", {}).get(response, ())) or None,
                rationale=judged.payload.get("note"),
                annotator=judged.annotator,
                lineage=judged.lineage,
            )


def _demonstrations(judged: ReadSubmission) -> Iterator[Demonstration]:
    better = judged.payload["demonstration"]
    based_on = {"based_on": better["based_on"]} if better.get("based_on") else {}
    yield Demonstration(prompt=judged.prompt, response=better["text"], lineage=judged.lineage | based_on)


# ---------------------------------------------------------------- reading


def _submissions(session: Session, project_id: uuid.UUID, which: ColumnElement[bool]) -> Iterator[ReadSubmission]:
    forms = {
        form.id: (read_form(form.spec), form.version)
        for form in session.scalars(select(Form).where(Form.project_id == project_id))
    }
    rows = session.execute(_current(project_id, which).execution_options(yield_per=BATCH))
    for submission, task, annotator, payload, prompt, responses, shown, form in rows:
        yield ReadSubmission(
            submission,
            task,
            annotator,
            payload,
            Prompt.from_line(prompt),
            dict(json.loads(responses)),
            tuple(shown),
            *forms[form],
        )


def _current(project_id: uuid.UUID, which: ColumnElement[bool]) -> Select[Any]:
    later = aliased(Submission)
    in_order = aggregate_order_by(func.jsonb_build_array(ResponseRow.id, ResponseRow.text), TaskResponse.position)
    responses = (
        select(cast(func.jsonb_agg(in_order), Text))
        .select_from(ResponseRow)
        .join(TaskResponse, TaskResponse.response_id == ResponseRow.id)
        .where(TaskResponse.task_id == Task.id)
        .correlate(Task)
        .scalar_subquery()
    )
    return (
        select(
            Submission.id,
            Task.id,
            Person.pseudonym,
            Submission.payload,
            cast(PromptRow.record, Text),
            responses,
            Assignment.display_order,
            Task.form_id,
        )
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(Person, Person.id == Assignment.person_id)
        .where(Task.project_id == project_id, which)
        .where(~exists().where(later.supersedes == Submission.id))
        .order_by(Submission.seq)
    )
