"""Bodies of /v1/erasures."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from alignment.shared.sentence import Sentence, unpacked
from alignment.shared.validation import SentenceText
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import ErasureState
from annotation_api.http.schemas import Body, Shown, storable_text

NAMED = {  # what names the target of each scope
    ErasureScope.RECORD: "task, or dataset and row",
    ErasureScope.PERSON: "person",
    ErasureScope.PROJECT: "project",
}
Reason = Annotated[str, Field(min_length=3, max_length=2000), AfterValidator(storable_text)]


class ErasureTarget(Body):
    """What is to be erased: a prompt with what hangs on it, a person's answers, or a project."""

    scope: ErasureScope
    task: uuid.UUID | None = Field(default=None, description="Of a record: a task that asks its prompt.")
    dataset: uuid.UUID | None = Field(default=None, description="Of a record: the data set that holds it ...")
    row: int | None = Field(default=None, ge=1, description="... and its row in the file, from 1.")
    part: int = Field(default=0, ge=0, description="Of a row that gave several records.")
    person: uuid.UUID | None = None
    project: uuid.UUID | None = Field(
        default=None, description="The project; of a record or a person: only what is in it. Unset: everywhere."
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        given = {name for name in ("task", "dataset", "row", "person") if getattr(self, name) is not None}
        given |= {"part"} if self.part else set()
        fits = {
            ErasureScope.RECORD: given - {"part"} == {"dataset", "row"} or given == {"task"},
            ErasureScope.PERSON: given == {"person"},
            ErasureScope.PROJECT: self.project is not None and not given,
        }
        if not fits[self.scope]:
            raise ValueError(
                Sentence(
                    "target-named-by",
                    "a %(scope)s is named by %(named_by)s, and by nothing else",
                    scope=self.scope.value,
                    named_by=NAMED[self.scope],
                )
            )
        return self


class NewErasure(ErasureTarget):
    reason: Reason = Field(description="Why, for those who ask later. It stays: write no content of it.")


class MarkedOut(Shown):
    """A snapshot that loses rows, or a model that was made of one."""

    id: uuid.UUID
    name: str
    rows: int


class ErasurePlan(Shown):
    """What would go, counted; nothing is done."""

    prompts: int
    responses: int
    tasks: int = Field(description="They leave the queue for good.")
    answers: int
    dataset_rows: int
    snapshots: list[MarkedOut] = Field(description="They keep their hash and are not read any more.")
    models: list[MarkedOut] = Field(description="They stay, and say that some of their data are gone.")
    readers: list[str] = Field(default=[], description="Jobs that stand in the way: they read it just now.")


class ErasureOut(Shown):
    id: uuid.UUID
    scope: ErasureScope
    target: dict[str, str] = Field(description="An id, or the hash of the prompt.")
    project: uuid.UUID | None = Field(validation_alias="project_id", description="Only in it; null: everywhere.")
    reason: str
    state: ErasureState
    step: str = Field(description="What it is at.")
    done: int = Field(description="Rows and files emptied.")
    total: int = Field(description="Rows, as they were foreseen.")
    counts: dict[str, Any] = Field(description="What was emptied, by what it is.")
    error: Annotated[SentenceText | None, BeforeValidator(lambda text: text and unpacked(text))] = Field(
        description="Why it failed; then nothing was erased."
    )
    created_by: uuid.UUID
    created_at: datetime
    finished_at: datetime | None


class ErasureList(BaseModel):
    items: list[ErasureOut] = Field(description="The newest 200 that the caller may see.")
