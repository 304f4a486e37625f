"""The one writer of tasks, with their prompts and responses: sent one by one, sampled, compared, or from a data set.

An array a column and a statement a table is several times faster than a statement a row.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, canonical_json, sha256_text
from annotation_api.db.tables import FeedbackKind, PromptRow

Columns = Mapping[str, str]  # their types by name
PROMPT: Columns = {"id": "uuid", "project_id": "uuid", "key": "text", "record": "jsonb"}
RESPONSE: Columns = {
    "id": "uuid",
    "prompt_id": "uuid",
    "text": "text",
    "text_hash": "text",
    "model_id": "uuid",
    "job_id": "uuid",
    "sampling": "jsonb",
}
TASK: Columns = {
    "id": "uuid",
    "project_id": "uuid",
    "prompt_id": "uuid",
    "kind": "text",
    "form_id": "uuid",
    "rules": "jsonb",
    "overlap": "int",
    "priority": "int",
    "created_at": "timestamptz",
}
PLACE: Columns = {"task_id": "uuid", "position": "int", "response_id": "uuid"}


@dataclass(frozen=True)
class Response:
    """A response to be stored; `model_id` is unset where no version of the registry made it."""

    prompt_id: uuid.UUID
    text: str
    model_id: uuid.UUID | None = None
    job_id: uuid.UUID | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def text_hash(self) -> str:
        return sha256_text(self.text)


@dataclass(frozen=True)
class TaskToAdd:
    """A task to be stored; its responses stand in it in this order."""

    project_id: uuid.UUID
    form_id: uuid.UUID
    responses: Sequence[Response]  # of one prompt
    overlap: int
    kind: FeedbackKind = FeedbackKind.RANKING
    priority: int = 0
    rules: Sequence[str] | None = None  # of the form, to probe; None: all
    created_at: datetime | None = None  # the place in the queue; None: that of this transaction
    id: uuid.UUID = field(default_factory=uuid.uuid4)


def prompt_ids(session: Session, project_id: uuid.UUID, prompts: Iterable[Prompt]) -> dict[str, uuid.UUID]:
    """The project's row of each prompt, by key; made where it is missing."""
    records = dict(sorted((prompt.key, prompt) for prompt in prompts))  # so that two never wait for each other
    rows = [(uuid.uuid4(), project_id, key, prompt.canonical()) for key, prompt in records.items()]
    _store(session, "prompts", PROMPT, rows, "ON CONFLICT (project_id, key) DO NOTHING")
    found = select(PromptRow.key, PromptRow.id).where(PromptRow.project_id == project_id, PromptRow.key.in_(records))
    return {row.key: row.id for row in session.execute(found)}


def add_responses(session: Session, responses: Iterable[Response]) -> None:
    """Store them; one that is there by its id stays as it is."""
    rows = [
        (r.id, r.prompt_id, r.text, r.text_hash, r.model_id, r.job_id, canonical_json(r.sampling)) for r in responses
    ]
    _store(session, "responses", RESPONSE, rows, "ON CONFLICT (id) DO NOTHING")


def add_tasks(session: Session, tasks: Sequence[TaskToAdd]) -> None:
    """Store tasks with their responses."""
    responses = {response.id: response for task in tasks for response in task.responses}
    add_responses(session, sorted(responses.values(), key=lambda response: response.prompt_id))
    began = session.scalars(select(func.now())).one()
    _store(session, "tasks", TASK, [_row(task, began) for task in tasks])
    places = [(task.id, place, response.id) for task in tasks for place, response in enumerate(task.responses)]
    _store(session, "task_responses", PLACE, places)


def _row(task: TaskToAdd, began: datetime) -> tuple[Any, ...]:
    return (
        task.id,
        task.project_id,
        task.responses[0].prompt_id,
        task.kind.value,
        task.form_id,
        None if task.rules is None else canonical_json(list(task.rules)),
        task.overlap,
        task.priority,
        task.created_at or began,
    )


def _store(session: Session, table: str, columns: Columns, rows: Sequence[tuple[Any, ...]], but: str = "") -> None:
    """All rows in one statement."""
    if not rows:
        return
    session.flush()  # what the rows name may wait in the session
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    names, values = ", ".join(columns), zip(*rows, strict=True)
    statement = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {but}"
    session.execute(sql(statement), {name: list(row) for name, row in zip(columns, values, strict=True)})
