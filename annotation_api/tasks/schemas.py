"""What callers send and get about projects, tasks and assignments. Annotators never see model names."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from alignment.records import MAX_RESPONSES
from annotation_api.schemas import Body, Shown

MAX_TASKS = 1000  # in one request


class NewProject(Body):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    guidelines: str = Field(default="", max_length=20_000, description="What a good answer is, for the annotators.")
    overlap: int = Field(default=1, ge=1, le=50, description="How many people judge each task.")
    lease_seconds: int = Field(default=300, ge=1, le=86_400, description="For how long a task is kept for a person.")


class PersonProgress(BaseModel):
    pseudonym: str
    name: str | None = Field(description="For admins only.")
    judged: int
    skipped: int


class Progress(Shown):
    tasks: int = 0
    wanted: int = Field(default=0, description="Judgements wanted: the overlaps of all tasks.")
    judged: int = 0
    left: int = 0


class ProjectOut(Shown):
    id: uuid.UUID
    name: str
    guidelines: str
    overlap: int
    lease_seconds: int
    created_at: datetime
    progress: Progress
    people: list[PersonProgress] | None = Field(default=None, description="Not for annotators.")


class NewResponse(Body):
    text: str = Field(min_length=1, max_length=200_000)
    model: uuid.UUID | None = Field(default=None, description="The model version that wrote it.")
    sampling: dict[str, Any] = Field(default_factory=dict, description="How it was drawn: temperature, seed.")


class NewTask(Body):
    prompt: dict[str, Any] = Field(
        description="{messages: [{role: system|user|assistant, content}, ...], criterion?, language?}; "
        "the last message is the user's."
    )
    responses: list[NewResponse] = Field(min_length=2, max_length=MAX_RESPONSES)
    priority: int = Field(default=0, ge=-1000, le=1000, description="Higher comes first.")
    overlap: int | None = Field(default=None, ge=1, le=50, description="Unset: as the project.")


NewTasks = Annotated[
    list[NewTask],
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    Field(min_length=1, max_length=MAX_TASKS),
]


class TaskIds(BaseModel):
    ids: list[uuid.UUID]


class TaskResponseOut(BaseModel):
    id: uuid.UUID
    text: str
    model: uuid.UUID | None = Field(default=None, description="For engineers and admins only.")


class TaskOut(BaseModel):
    id: uuid.UUID
    kind: str
    overlap: int
    priority: int
    judged: int
    created_at: datetime
    prompt: dict[str, Any]
    responses: list[TaskResponseOut]


class ShownResponse(BaseModel):
    id: uuid.UUID
    text: str


class AssignmentOut(BaseModel):
    """A task for one person: the responses in the order in which to show them."""

    assignment: uuid.UUID
    task: uuid.UUID
    project: uuid.UUID
    kind: str
    prompt: dict[str, Any]
    responses: list[ShownResponse]
    lease_until: datetime


class Lease(BaseModel):
    lease_until: datetime


class Skip(Body):
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
