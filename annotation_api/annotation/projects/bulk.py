"""Records of a data set as tasks, each known by its content, so that what is there stays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from alignment.shared.records import Candidates, Demonstration, Ranking, sha256_text
from annotation_api.annotation.projects.planning import Plan
from annotation_api.db import tasks
from annotation_api.db.snapshots import frozen_rows
from annotation_api.db.sql import one_of
from annotation_api.db.tables import Dataset, DatasetKind, DatasetRow, FeedbackKind, Task

BATCH = 1000  # records held in memory at once
Judgeable = Ranking | Candidates | Demonstration
HOLDS: dict[DatasetKind, type[Ranking] | type[Candidates] | type[Demonstration]] = {  # what can be judged as it is
    kind: held for kind, held in frozen_rows.HOLDS.items() if issubclass(held, Ranking | Candidates | Demonstration)
}


@dataclass(frozen=True)
class Queue:
    """Where the tasks go, and what they have in common."""

    project_id: uuid.UUID
    kind: FeedbackKind
    form_id: uuid.UUID
    overlap: int
    priority: int
    dataset_id: uuid.UUID


def records_of(session: Session, dataset: Dataset) -> Iterator[tuple[int, Judgeable]]:
    """The row and record of each row of the file in its order, streamed."""
    rows = select(DatasetRow.row, cast(DatasetRow.record, Text)).where(DatasetRow.dataset_id == dataset.id)
    rows = rows.where(DatasetRow.erased_at.is_(None))
    rows = rows.order_by(DatasetRow.row, DatasetRow.part).execution_options(yield_per=BATCH)
    kind = HOLDS[dataset.kind]
    for row, stored in session.execute(rows):
        yield row, kind.from_line(stored)


def take_turn(session: Session, project_id: uuid.UUID) -> bool:
    """Whether nobody else fills the project now; until this transaction ends nobody else will."""
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(project_id.int >> 65))))


def now(session: Session) -> datetime:
    moment: datetime = session.scalars(select(func.clock_timestamp())).one()
    return moment


def known(session: Session, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the ids that are tasks already."""
    return set(session.scalars(select(Task.id).where(one_of(Task.id, ids))))


@dataclass(frozen=True)
class New:
    """A planned task with its id, its time (the place in the queue) and the row that it came from."""

    id: uuid.UUID
    plan: Plan
    created_at: datetime
    row: int


def add_tasks(session: Session, queue: Queue, new: Sequence[New]) -> None:
    """Store the tasks with their prompts and responses; a response of the data set stands once for its prompt."""
    prompts = tasks.prompt_ids(session, queue.project_id, [item.plan.prompt for item in new])
    tasks.add_tasks(session, [_task(queue, item, prompts[item.plan.prompt.key]) for item in new])


def _task(queue: Queue, item: New, prompt_id: uuid.UUID) -> tasks.TaskToAdd:
    return tasks.TaskToAdd(
        project_id=queue.project_id,
        form_id=queue.form_id,
        responses=[_response(queue, item.row, prompt_id, text) for text in item.plan.texts],
        overlap=queue.overlap,
        kind=queue.kind,
        priority=queue.priority,
        rules=None if item.plan.rule is None else [item.plan.rule],
        created_at=item.created_at,
        id=item.id,
    )


def _response(queue: Queue, row: int, prompt_id: uuid.UUID, text: str) -> tasks.Response:
    sampling = {"dataset": str(queue.dataset_id), "row": row}
    key = uuid.uuid5(queue.dataset_id, f"{prompt_id} {sha256_text(text)}")
    return tasks.Response(prompt_id, text, sampling=sampling, id=key)
