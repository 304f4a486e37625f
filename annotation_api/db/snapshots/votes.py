"""The judgements of a project that a snapshot takes: which votes and decisions count, with what they judge."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, exists, func, literal, null, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from annotation_api.db.kinds import Adjudicated, PausedPeople
from annotation_api.db.snapshots import decided
from annotation_api.db.tables import (
    Assignment,
    FeedbackKind,
    Person,
    PersonStanding,
    PromptRow,
    ResponseRow,
    Submission,
    Task,
    TaskDecision,
    TaskResponse,
)


@dataclass(frozen=True)
class VoteChoice:
    """Which judgements of a project a snapshot holds."""

    adjudicated: Adjudicated = Adjudicated.INSTEAD
    paused: PausedPeople = PausedPeople.OUT

    def told(self, session: Session, project_id: uuid.UUID) -> dict[str, str]:
        """What a snapshot says of it: what sets it apart from all votes of everybody, where there is any of it."""
        known = exists().where(TaskDecision.task_id == Task.id, Task.project_id == project_id, decided.stands())
        out = exists().where(PersonStanding.project_id == project_id, PersonStanding.paused_at.is_not(None))
        found = session.execute(select(known, out)).one()
        said = (
            {"adjudicated": self.adjudicated.value} if found[0] and self.adjudicated is not Adjudicated.IGNORE else {}
        )
        return said | ({"paused": self.paused.value} if found[1] and self.paused is PausedPeople.OUT else {})


USUAL = VoteChoice()


def votes_of(project_id: uuid.UUID, kind: FeedbackKind | None, choice: VoteChoice) -> Select[Any]:
    """What annotators said, as it stands. A decision in their stead stands for an order or a verdict; better answers
    are no votes and stay."""
    later = aliased(Submission)
    query = (
        _with_content(Submission.id, True, Submission.payload, Assignment.display_order)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(Person, Person.id == Assignment.person_id)
        .where(Task.project_id == project_id, ~Task.gold, _of_kind(Submission, kind), Submission.erased_at.is_(None))
        .where(~exists().where(later.supersedes == Submission.id))
    )
    if kind is not None and choice.adjudicated is Adjudicated.INSTEAD:
        query = query.where(~exists().where(TaskDecision.task_id == Task.id, decided.stands()))
    if choice.paused is PausedPeople.OUT:
        paused = (PersonStanding.project_id == project_id) & PersonStanding.paused_at.is_not(None)
        query = query.where(Assignment.person_id.not_in(select(PersonStanding.person_id).where(paused)))
    return query.order_by(Submission.seq)


def decisions_of(project_id: uuid.UUID, kind: FeedbackKind | None) -> Select[Any]:
    """The decisions that stand."""
    return (
        _with_content(TaskDecision.id, False, TaskDecision.payload, null())
        .join(Task, Task.id == TaskDecision.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(Person, Person.id == TaskDecision.reviewer_id)
        .where(Task.project_id == project_id, ~Task.gold, _of_kind(TaskDecision, kind))
        .where(decided.stands())
        .order_by(TaskDecision.created_at, TaskDecision.id)
    )


def _of_kind(table: type[Submission] | type[TaskDecision], kind: FeedbackKind | None) -> ColumnElement[bool]:
    return table.payload.has_key("demonstration") if kind is None else table.kind == kind


def _with_content(key: Any, voted: bool, payload: Any, shown: Any) -> Select[Any]:
    """The columns that say what was judged, by whom, in which form."""
    in_order = aggregate_order_by(func.jsonb_build_array(ResponseRow.id, ResponseRow.text), TaskResponse.position)
    responses = (
        select(cast(func.jsonb_agg(in_order), Text))
        .select_from(ResponseRow)
        .join(TaskResponse, TaskResponse.response_id == ResponseRow.id)
        .where(TaskResponse.task_id == Task.id)
        .correlate(Task)
        .scalar_subquery()
    )
    record = cast(PromptRow.record, Text)
    return select(key, literal(voted), Task.id, Person.pseudonym, payload, record, responses, shown, Task.form_id)
