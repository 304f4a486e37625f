"""What callers send and get about projects, tasks and assignments. Annotators never see model names."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from alignment.shared.sentence import Sentence
from annotation_api.db.forms import MAX_RANKED as MAX_RANKED
from annotation_api.db.forms import FormSpec, QuestionsForm, RankingForm, RulesForm
from annotation_api.db.tables import FeedbackKind
from annotation_api.http.labels import one_line
from annotation_api.http.schemas import Body, Shown, kept_small, storable_text

MAX_TASKS = 1000  # in one request
ProjectName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(one_line)
]


def _ranking_only() -> list[RankingForm | QuestionsForm | RulesForm]:
    return [RankingForm()]


class NewProject(Body):
    name: ProjectName
    guidelines: str = Field(default="", max_length=20_000, description="What a good answer is, for the annotators.")
    overlap: int = Field(default=1, ge=1, le=50, description="How many people judge each task.")
    lease_seconds: int = Field(default=300, ge=1, le=86_400, description="For how long a task is kept for a person.")
    responses_per_task: int = Field(default=4, ge=2, le=MAX_RANKED, description="K: how many responses a task holds.")
    daily_limit: int | None = Field(default=None, ge=1, le=100_000, description="Tasks a day and person; null: any.")
    open: bool = Field(default=True, description="To everybody; false: to its members and admins only.")
    forms: list[FormSpec] = Field(
        default_factory=_ranking_only,
        min_length=1,
        max_length=3,
        description="What is asked: at most one form of each kind (ranking, questions, rules).",
    )

    @model_validator(mode="after")
    def _one_form_a_kind(self) -> Self:
        kinds = [form.kind for form in self.forms]
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                Sentence("forms-one-each", "forms: one of each kind at most, got %(kinds)s", kinds=", ".join(kinds))
            )
        return self


class PersonProgress(BaseModel):
    pseudonym: str
    name: str | None = Field(description="For admins only.")
    judged: int
    skipped: int


class FormOut(BaseModel):
    id: uuid.UUID
    kind: FeedbackKind
    version: int
    spec: FormSpec


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
    responses_per_task: int
    daily_limit: int | None
    open: bool = Field(description="To everybody, or to its members and admins.")
    closed_at: datetime | None = Field(default=None, description="Since when nobody gets a task of it.")
    archived_at: datetime | None = Field(default=None, description="Since when it is out of the lists.")
    forms: list[FormOut] = Field(description="The newest of each kind.")
    created_at: datetime
    progress: Progress
    people: list[PersonProgress] | None = Field(default=None, description="Not for annotators.")


class NewResponse(Body):
    text: str = Field(min_length=1, max_length=200_000)
    model: uuid.UUID | None = Field(default=None, description="The model version that wrote it.")
    sampling: dict[str, Any] = Field(default_factory=dict, description="How it was drawn: temperature, seed.")


class NewTask(Body):
    prompt: dict[str, Any] = Field(
        description="{messages: [{role: system|user|assistant|tool, content}, ...], criterion?, language?, tools?}; "
        "the last message is the user's."
    )
    kind: FeedbackKind = Field(default=FeedbackKind.RANKING, description="Which of the project's forms is asked.")
    responses: list[NewResponse] = Field(
        min_length=1,
        max_length=MAX_RANKED,
        description="To rank: 2 to 9. For questions: one, or two if the form is about a pair. For rules: one.",
    )
    rules: list[str] | None = Field(default=None, min_length=1, description="For rules: ids to probe; unset: all.")
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
    kind: FeedbackKind
    rules: list[str] | None
    overlap: int
    removed_overlap: int | None = Field(default=None, description="Of a task taken out of the queue: what it was.")
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
    kind: FeedbackKind
    form: FormSpec
    rules: list[str] | None = Field(description="Of a rules task: the ids to probe; null: all of the form.")
    prompt: dict[str, Any]
    responses: list[ShownResponse]
    lease_until: datetime
    draft: dict[str, Any] | None = Field(
        description="What the person left unfinished in the form, as the page wrote it."
    )


class Lease(BaseModel):
    lease_until: datetime


class NewDraft(Body):
    payload: dict[str, Any] = Field(description="What stands in the form, as the page wrote it: 64 KiB at most.")

    @field_validator("payload")
    @classmethod
    def _is_small(cls, payload: dict[str, Any]) -> dict[str, Any]:
        return kept_small(payload)


class Skip(Body):
    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(storable_text)
    ]
