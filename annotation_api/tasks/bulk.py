"""Many tasks in few statements: lists of rows, each known by its content, so that what is there stays."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from alignment.records import Demonstration, Ranking, canonical_json, sha256_text
from annotation_api.db import frozen_rows
from annotation_api.db.tables import (
    Dataset,
    DatasetKind,
    DatasetRow,
    FeedbackKind,
    PromptRow,
    Task,
)
from annotation_api.tasks.planning import Plan

BATCH = 1000  # records held in memory at once
Values = tuple[Any, ...]
Columns = Mapping[str, str]  # their types by name
PROMPT: Columns = {"id": "uuid", "project_id": "uuid", "key": "text", "record": "jsonb"}
RESPONSE: Columns = {"id": "uuid", "prompt_id": "uuid", "text": "text", "text_hash": "text", "sampling": "jsonb"}
TASK: Columns = {
    "id": "uuid",
    "prompt_id": "uuid",
    "rules": "jsonb",
    "created_at": "timestamptz",
    "project_id": "uuid",
    "kind": "text",
    "form_id": "uuid",
    "overlap": "int",
    "priority": "int",
}
PLACE: Columns = {"task_id": "uuid", "position": "int", "response_id": "uuid"}
HOLDS: dict[DatasetKind, type[Ranking] | type[Demonstration]] = {  # what can be judged as it is
    kind: held for kind, held in frozen_rows.HOLDS.items() if issubclass(held, Ranking | Demonstration)
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


def records_of(session: Session, dataset: Dataset) -> Iterator[tuple[int, Ranking | Demonstration]]:
    """The row and record of each row of the file in its order, streamed."""
    rows = select(DatasetRow.row, cast(DatasetRow.record, Text)).where(DatasetRow.dataset_id == dataset.id)
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
    return set(session.scalars(select(Task.id).where(Task.id.in_(ids))))


@dataclass(frozen=True)
class New:
    """A planned task with its id, its time (the place in the queue) and the row that it came from."""

    id: uuid.UUID
    plan: Plan
    created_at: datetime
    row: int


def add_tasks(session: Session, queue: Queue, new: Sequence[New]) -> None:
    """Store the tasks with their prompts and responses; a response of the data set stands once for its prompt."""
    if not new:
        return
    prompts = _prompt_ids(session, queue.project_id, new)
    responses: dict[uuid.UUID, Values] = {}
    places: list[Values] = []
    for item in new:
        for position, text in enumerate(item.plan.texts):
            key, row = _response(queue, item, prompts[item.plan.prompt.key], text)
            responses.setdefault(key, row)
            places.append((item.id, position, key))
    _store(session, "responses", RESPONSE, list(responses.values()), "ON CONFLICT (id) DO NOTHING")
    _store(session, "tasks", TASK, [_task(queue, item, prompts[item.plan.prompt.key]) for item in new])
    _store(session, "task_responses", PLACE, places)


def _store(session: Session, table: str, columns: Columns, rows: Sequence[Values], but: str = "") -> None:
    """All rows in one statement: an array a column is several times faster than a statement a row."""
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) {but}"
    session.execute(
        sql(statement), {name: list(values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)}
    )


def _prompt_ids(session: Session, project_id: uuid.UUID, new: Sequence[New]) -> dict[str, uuid.UUID]:
    """Ids of the prompts' rows by key, made where missing."""
    records = {item.plan.prompt.key: item.plan.prompt for item in new}
    rows = [(uuid.uuid4(), project_id, key, prompt.canonical()) for key, prompt in records.items()]
    _store(session, "prompts", PROMPT, rows, "ON CONFLICT DO NOTHING")
    found = select(PromptRow.key, PromptRow.id).where(PromptRow.project_id == project_id, PromptRow.key.in_(records))
    return {row.key: row.id for row in session.execute(found)}


def _response(queue: Queue, item: New, prompt_id: uuid.UUID, text: str) -> tuple[uuid.UUID, Values]:
    digest = sha256_text(text)
    key = uuid.uuid5(queue.dataset_id, f"{prompt_id} {digest}")
    return key, (key, prompt_id, text, digest, canonical_json({"dataset": str(queue.dataset_id), "row": item.row}))


def _task(queue: Queue, item: New, prompt_id: uuid.UUID) -> Values:
    rules = None if item.plan.rule is None else canonical_json([item.plan.rule])
    common = (queue.project_id, queue.kind.value, queue.form_id, queue.overlap, queue.priority)
    return (item.id, prompt_id, rules, item.created_at, *common)
