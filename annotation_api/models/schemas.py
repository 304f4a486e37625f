"""Bodies of /v1/models and /v1/aliases."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from alignment.shared.validation import SentenceText
from annotation_api.db.tables import ModelKind
from annotation_api.http.labels import Name, Notes
from annotation_api.http.schemas import Body, Shown
from annotation_api.models.uploads import ModelUpload


class NewModel(Body):
    """A base model: a folder on the service's machine below an allowed root, or an allowed hub id."""

    name: Name = Field(description="Shown in lists.")
    path: str = Field(min_length=1, max_length=4096, description="The folder, or a hub id such as owner/name.")


class ModelPath(Body):
    """What is to be checked: a folder on the service's machine below an allowed root, or an allowed hub id."""

    path: str = Field(min_length=1, max_length=4096, description="The folder, or a hub id such as owner/name.")


class CheckedModel(BaseModel):
    """What a folder is, and whether each stage can use it: the answer of `rankloop models check`."""

    path: str
    facts: dict[str, Any] = Field(
        description="Kind, family, weights, context, stops, memory by stage; empty for a hub id."
    )
    notes: list[SentenceText] = Field(description="What is worth knowing before a job is made.")


class NewUpload(Body):
    """A base model that is sent file by file."""

    name: Name = Field(description="Shown in lists, when it is registered.")


class FinishedUpload(Body):
    sha256: dict[str, str] = Field(
        default_factory=dict, max_length=2000, description="Of files, by name, to be compared; those left out are not."
    )


class UploadOut(BaseModel):
    id: uuid.UUID
    name: str
    files: dict[str, int] = Field(description="Bytes that have arrived, by file.")

    @classmethod
    def of(cls, upload: ModelUpload) -> Self:
        return cls(id=upload.id, name=upload.name, files=upload.sizes())


class ModelOut(Shown):
    id: uuid.UUID
    name: str
    kind: ModelKind
    path: str
    sha256: str | None
    job_id: uuid.UUID | None
    snapshot_id: uuid.UUID | None
    metrics: dict[str, Any]
    notes: str
    tags: list[str]
    created_at: datetime
    removed_at: datetime | None = Field(description="When its files were removed, because nothing needed them.")


class ErasedFromOut(Shown):
    """How many rows of its data were erased since it was made."""

    rows: int
    at: datetime


class ShownModel(ModelOut):
    """One model, with what became of its data."""

    erased: ErasedFromOut | None = Field(default=None, description="Null: all of its data are there.")


class NewAlias(Body):
    model: uuid.UUID
    why: Notes = Field(default="", description="Why it stands for this model from now on; kept in its history.")


class AliasMoveOut(Shown):
    """What an alias stood for from then on."""

    name: str
    model_id: uuid.UUID | None = Field(description="Null: it was taken away.")
    why: str
    moved_by: uuid.UUID | None
    created_at: datetime


class AliasOut(Shown):
    name: str
    model_id: uuid.UUID
    updated_at: datetime


class Node(BaseModel):
    """Something that came from, or gave, something else. `facts` depend on the type: a snapshot's rows, say."""

    id: uuid.UUID
    type: Literal["model", "job", "snapshot", "dataset", "project"]
    label: str
    facts: dict[str, Any] = {}


class Edge(BaseModel):
    """`source` read, started from, was made by or frozen from `target`; the relation says which."""

    model_config = ConfigDict(frozen=True)

    source: uuid.UUID
    target: uuid.UUID
    relation: str


class Lineage(BaseModel):
    """The graph back to what something came from, or forward to what came of it; it is the first node itself."""

    nodes: list[Node]
    edges: list[Edge]
    whole: bool = Field(default=True, description="False where the graph was cut off for its size.")
