"""What callers send to change a project and to fill its queue from a data set, and what they get."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.validation import SentenceText
from annotation_api.annotation.tasks.schemas import MAX_RANKED, FormOut, ProjectName
from annotation_api.db.forms import FormSpec
from annotation_api.db.tables import FeedbackKind
from annotation_api.http.schemas import Body, Moment, Patch


class ProjectPatch(Patch):
    """The fields to change; what is left out stays. Tasks keep the overlap and the form they were made with."""

    NULLABLE = frozenset({"daily_limit"})

    name: ProjectName | None = None
    guidelines: str | None = Field(default=None, max_length=20_000)
    overlap: int | None = Field(default=None, ge=1, le=50, description="Of new tasks.")
    lease_seconds: int | None = Field(default=None, ge=1, le=86_400)
    responses_per_task: int | None = Field(default=None, ge=2, le=MAX_RANKED)
    daily_limit: int | None = Field(default=None, ge=1, le=100_000, description="null: any number.")
    open: bool | None = Field(default=None, description="To everybody, or to its members and admins.")
    closed: bool | None = Field(default=None, description="Nobody gets a task of it; false opens it again.")
    archived: bool | None = Field(default=None, description="Out of the lists, and closed; false brings it back.")
    forms: list[FormSpec] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="A changed form becomes a new version of its kind, an unchanged one stays; other kinds stay, too.",
    )

    @model_validator(mode="after")
    def _archived_is_closed(self) -> Self:
        if self.archived and self.closed is False:
            raise ValueError(
                Sentence("archived-is-closed", "closed: an archived project is closed; leave the field out")
            )
        return self

    @model_validator(mode="after")
    def _one_form_a_kind(self) -> Self:
        kinds = [form.kind for form in self.forms or ()]
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                Sentence("forms-one-each", "forms: one of each kind at most, got %(kinds)s", kinds=", ".join(kinds))
            )
        return self

    def changes(self) -> dict[str, Any]:
        """The columns to set, with their values."""
        return {key: getattr(self, key) for key in self.model_fields_set - {"forms", "closed", "archived"}}


class FormVersion(FormOut):
    """A version of a form, and how many tasks were made with it."""

    created_at: datetime
    tasks: int
    newest: bool = Field(description="New tasks use the newest version of their kind.")


class FormVersions(BaseModel):
    items: list[FormVersion] = Field(description="By kind, the newest version first.")


class FromDataset(Body):
    dataset: uuid.UUID = Field(description="Of responses, rankings, preferences, demonstrations or conversations.")
    kind: FeedbackKind = Field(default=FeedbackKind.RANKING, description="Which of the project's forms is asked.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="Higher comes first.")
    overlap: int | None = Field(default=None, ge=1, le=50, description="Unset: as the project.")
    limit: int | None = Field(default=None, ge=1, description="At most so many new tasks; the rest can follow later.")
    responses_per_task: int | None = Field(
        default=None,
        ge=2,
        le=MAX_RANKED,
        description="To rank: at most so many responses a task; of more, a seeded draw. Unset: the project's.",
    )
    dry_run: bool = Field(default=False, description="Say what it would make, and make nothing.")


class Reason(BaseModel):
    """Why something of the data set gave no task, and how often."""

    reason: SentenceText
    times: int


class FromDatasetOut(BaseModel):
    tasks: int = Field(description="New tasks in the queue.")
    judgements: int = Field(description="That the new tasks want: each from as many people as its overlap says.")
    since: datetime | None = Field(
        description="The place in the queue of the first new task: `tasks:remove` undoes it."
    )
    until: datetime | None = Field(description="And of the last.")
    skipped: int = Field(description="Tasks that were not made, for the reasons given.")
    reasons: list[Reason]
    drawn: int = Field(description="New tasks for which responses were drawn from more.")
    rows: int = Field(description="Rows read.")
    complete: bool = Field(description="False when the limit ended the work before the data set did.")


class TaskChoice(Body):
    """Which tasks of a project: those that fit all that is given. Give one field at least."""

    ids: list[uuid.UUID] | None = Field(default=None, min_length=1, max_length=1000)
    state: Literal["waiting", "begun", "done", "removed"] | None = Field(
        default=None, description="No judgement yet, some, all, or taken out of the queue."
    )
    words: str | None = Field(default=None, min_length=1, max_length=200, description="That the prompt holds.")
    dataset: uuid.UUID | None = Field(default=None, description="Made from this data set.")
    since: Moment | None = Field(default=None, description="With `until`: what one `tasks:from-dataset` made.")
    until: Moment | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        given = self.model_dump(exclude_none=True)
        if not given:
            raise ValueError(
                Sentence(
                    "choose-no-task", "ids: give ids, or a state, words, a data set or a time; nothing chooses no task"
                )
            )
        if ("since" in given) != ("until" in given):
            raise ValueError(Sentence("since-with-until", "until: since and until come together"))
        return self


class TasksRemoved(BaseModel):
    deleted: int = Field(description="Tasks that nobody had: gone for good.")
    kept: int = Field(description="Tasks with work in them: it stays and counts, nobody gets them any more.")


class TasksBack(BaseModel):
    tasks: int = Field(description="In the queue again.")
