"""The rows that a snapshot is made of, streamed in an order that depends on the sources alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, cast, exists, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from alignment.records import Demonstration, Prompt, Ranking
from annotation_api.db.tables import (
    Assignment,
    Dataset,
    DatasetKind,
    DatasetRow,
    Person,
    PromptRow,
    ResponseRow,
    Submission,
    Task,
    TaskResponse,
)

BATCH = 1000  # rows held in memory at once

Stored = Demonstration | Ranking | Prompt
HOLDS: dict[DatasetKind, type[Stored]] = {
    DatasetKind.DEMONSTRATIONS: Demonstration,
    DatasetKind.CONVERSATIONS: Demonstration,
    DatasetKind.PREFERENCES: Ranking,
    DatasetKind.RANKINGS: Ranking,
    DatasetKind.PROMPTS: Prompt,
}


class FreezeError(Exception):
    """There is nothing to freeze, or it is of the wrong kind; the message says what to do."""


@dataclass(frozen=True)
class Frozen:
    """One line-to-be, and the row that it came from."""

    record: Stored
    submission_id: uuid.UUID | None = None
    dataset_id: uuid.UUID | None = None
    dataset_row: int | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """The columns of a snapshot row that say where it came from."""
        names = ("submission_id", "dataset_id", "dataset_row")
        return {name: getattr(self, name) for name in names}


def of_dataset(session: Session, dataset: Dataset) -> Iterator[Frozen]:
    """Every record of an imported file, in the file's order, with its place in the file as lineage."""
    rows = select(DatasetRow.row, DatasetRow.part, cast(DatasetRow.record, Text))
    rows = rows.where(DatasetRow.dataset_id == dataset.id).order_by(DatasetRow.row, DatasetRow.part)
    kind = HOLDS[dataset.kind]
    for row, part, stored in session.execute(rows.execution_options(yield_per=BATCH)):
        record = kind.from_line(stored)
        if not isinstance(record, Prompt):
            lineage = {"dataset": str(dataset.id), "row": str(row)} | ({"part": str(part)} if part else {})
            record = record.model_copy(update={"lineage": lineage})
        yield Frozen(record, dataset_id=dataset.id, dataset_row=row)


def of_project(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """The current judgements of a project as rankings, oldest first; superseded ones are left out.

    Raises FreezeError for a judgement that is no order of its task's responses.
    """
    for row in session.execute(_judgements(project_id).execution_options(yield_per=BATCH)):
        yield Frozen(_ranking(*row), submission_id=row[0])


def prompts_of_project(session: Session, project_id: uuid.UUID) -> Iterator[Frozen]:
    """The prompts of a project, oldest first."""
    rows = select(cast(PromptRow.record, Text)).where(PromptRow.project_id == project_id)
    rows = rows.order_by(PromptRow.created_at, PromptRow.key)
    for stored in session.scalars(rows.execution_options(yield_per=BATCH)):
        yield Frozen(Prompt.from_line(stored))


def prompts_once(rows: Iterable[Frozen]) -> Iterator[Frozen]:
    """The prompt of each row; of those that ask the same, the first."""
    seen: set[bytes] = set()
    for row in rows:
        prompt = row.record if isinstance(row.record, Prompt) else row.record.prompt
        key = bytes.fromhex(prompt.key)
        if key not in seen:
            seen.add(key)
            yield Frozen(prompt, row.submission_id, row.dataset_id, row.dataset_row)


def _judgements(project_id: uuid.UUID) -> Select[Any]:
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
        select(Submission.id, Task.id, Person.pseudonym, Submission.payload, cast(PromptRow.record, Text), responses)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(PromptRow, PromptRow.id == Task.prompt_id)
        .join(Person, Person.id == Assignment.person_id)
        .where(Task.project_id == project_id, Submission.kind == "ranking")
        .where(~exists().where(later.supersedes == Submission.id))
        .order_by(Submission.seq)
    )


def _ranking(
    submission: uuid.UUID, task: uuid.UUID, annotator: str, payload: dict[str, Any], prompt: str, responses: str
) -> Ranking:
    texts: dict[str, str] = dict(json.loads(responses))
    place = {response: index for index, response in enumerate(texts)}
    asked = Prompt.from_line(prompt)
    try:
        return Ranking(
            prompt=asked,
            responses=tuple(texts.values()),
            groups=tuple(tuple(sorted(place[response] for response in group)) for group in payload["groups"]),
            strength=payload.get("strength"),
            all_bad=payload.get("all_bad", False),
            criterion=asked.criterion,
            annotator=annotator,
            lineage={"submission": str(submission), "task": str(task)},
        )
    except (KeyError, ValueError) as error:
        raise FreezeError(f"submission {submission} is no order of the responses of task {task}: {error}") from error
