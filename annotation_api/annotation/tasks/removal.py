"""Taking tasks out of a project's queue, and bringing them back.

A task that nobody ever had is deleted, so that the same content can be made a task again. One that somebody had or
judged stays with its answers, which count as before; nobody gets it any more. Its overlap becomes what was judged.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Select, Text, cast, delete, func, select, update
from sqlalchemy.orm import Session

from annotation_api.db import places
from annotation_api.db.sql import one_of
from annotation_api.db.tables import Assignment, PromptRow, ResponseRow, Task, TaskDecision, TaskResponse

State = Literal["", "waiting", "begun", "done", "removed"]
STATES: dict[State, ColumnElement[bool]] = {
    "waiting": (Task.judged == 0) & (Task.judged < Task.overlap),  # as the index of open tasks says it
    "begun": (Task.judged > 0) & (Task.judged < Task.overlap),
    "done": (Task.judged >= Task.overlap) & Task.removed_overlap.is_(None),
    "removed": Task.removed_overlap.is_not(None),
}


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks of a project: those of a state, with words in the prompt, of a data set, of one fill.

    Gold items are none of them: they are made and ended on a page of their own.
    """

    project_id: uuid.UUID
    state: State = ""
    words: str = ""
    dataset: uuid.UUID | None = None
    since: datetime | None = None  # a fill's tasks stand in the queue from its first moment
    until: datetime | None = None  # to its last

    def tasks(self) -> Select[Task]:
        query = select(Task).where(Task.project_id == self.project_id, ~Task.gold)
        if self.state:
            query = query.where(STATES[self.state])
        if self.words.strip():
            record = func.lower(cast(PromptRow.record, Text))
            found = func.strpos(record, func.lower(self.words.strip())) > 0
            query = query.join(PromptRow, PromptRow.id == Task.prompt_id).where(found)
        if self.dataset:
            query = query.where(Task.id.in_(_of_dataset(self.project_id, self.dataset)))
        if self.since and self.until:
            query = query.where(Task.created_at >= self.since, Task.created_at <= self.until)
        return query


def _of_dataset(project_id: uuid.UUID, dataset: uuid.UUID) -> Select[uuid.UUID]:
    """Tasks that were made from the rows of a data set."""
    query = select(TaskResponse.task_id).join(ResponseRow, ResponseRow.id == TaskResponse.response_id)
    query = query.join(PromptRow, PromptRow.id == ResponseRow.prompt_id).where(PromptRow.project_id == project_id)
    return query.where(ResponseRow.sampling["dataset"].as_string() == str(dataset))


@dataclass(frozen=True)
class Removed:
    """How many are gone for good, and how many stay with what was done in them."""

    deleted: int
    kept: int


def remove(session: Session, choice: TaskFilter, ids: Collection[uuid.UUID] | None = None) -> Removed:
    """Take the chosen tasks out, of them those of `ids` if given. Doing it twice is the same."""
    chosen = choice.tasks().where(Task.removed_overlap.is_(None))
    keys = _locked(session, chosen if ids is None else chosen.where(Task.id.in_(ids)))
    had = {
        key
        for column in (Assignment.task_id, TaskDecision.task_id)
        for key in session.scalars(select(column).where(one_of(column, keys)))
    }
    fresh = [key for key in keys if key not in had]
    unsynchronised = {"synchronize_session": False}
    session.execute(delete(TaskResponse).where(one_of(TaskResponse.task_id, fresh)), execution_options=unsynchronised)
    session.execute(delete(Task).where(one_of(Task.id, fresh)), execution_options=unsynchronised)
    places.give_back(session, one_of(Assignment.task_id, had))
    out = update(Task).where(one_of(Task.id, had)).values(removed_overlap=Task.overlap, overlap=Task.judged)
    session.execute(out, execution_options=unsynchronised)
    return Removed(len(fresh), len(had))


def bring_back(session: Session, choice: TaskFilter, ids: Collection[uuid.UUID] | None = None) -> int:
    """Put chosen tasks that were taken out into the queue again, but for erased ones; how many."""
    whole = select(PromptRow.id).where(PromptRow.erased_at.is_(None))
    chosen = choice.tasks().where(Task.removed_overlap.is_not(None), Task.prompt_id.in_(whole))
    keys = _locked(session, chosen if ids is None else chosen.where(Task.id.in_(ids)))
    back = update(Task).where(one_of(Task.id, keys)).values(overlap=Task.removed_overlap, removed_overlap=None)
    session.execute(back, execution_options={"synchronize_session": False})
    return len(keys)


def _locked(session: Session, chosen: Select[Task]) -> list[uuid.UUID]:
    """Nobody claims or judges them until this transaction ends."""
    return list(session.scalars(chosen.with_only_columns(Task.id).order_by(Task.id).with_for_update(of=Task)))
