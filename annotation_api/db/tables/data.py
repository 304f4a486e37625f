"""What is judged and trained on: imported data sets, prompts and responses, frozen snapshots."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.kinds import DatasetKind
from annotation_api.db.tables.base import Base, new_id, notes_text, now, tag_list, text_enum


class Dataset(Base):
    """An imported file, whole: its rows are `alignment.shared.records` in canonical form."""

    __tablename__ = "datasets"
    id: Mapped[uuid.UUID] = new_id()
    name: Mapped[str]
    kind: Mapped[DatasetKind] = mapped_column(text_enum(DatasetKind))
    format: Mapped[str]
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id"))
    sha256: Mapped[str] = mapped_column(String(64))  # of the file as uploaded
    accepted: Mapped[int]
    duplicates: Mapped[int]
    rejected: Mapped[int]
    # {"map": {field: column}, "columns": [...]} where columns were named by hand
    mapping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # {"job", "snapshot", "before", "after", "changed"} where a preparation of other data made it
    origin: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    notes: Mapped[str] = notes_text()
    tags: Mapped[list[Any]] = tag_list()
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()


class DatasetRow(Base):
    """One record. Demonstrations and conversations hold Demonstration, preferences and rankings
    hold Ranking, prompts hold Prompt, responses hold Candidates."""

    __tablename__ = "dataset_rows"
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)  # physical row in the source, from 1
    part: Mapped[int] = mapped_column(primary_key=True, server_default=sql("0"))  # a tree or chat row gives several
    record_hash: Mapped[str] = mapped_column(String(64))
    record: Mapped[dict[str, Any]]
    erased_at: Mapped[datetime | None]  # the record is empty since then; it is in no list and no freeze


class PromptRow(Base):
    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("project_id", "key"),)
    id: Mapped[uuid.UUID] = new_id()
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id"))
    key: Mapped[str] = mapped_column(String(64))  # records.Prompt.key
    record: Mapped[dict[str, Any]]  # records.Prompt
    erased_at: Mapped[datetime | None]  # the record says nothing since then, and its responses neither
    erased_key: Mapped[str | None] = mapped_column(String(64))  # the key that it had
    created_at: Mapped[datetime] = now()


class ResponseRow(Base):
    """Immutable. Knows the model version and the sampling settings that made it, or the import."""

    __tablename__ = "responses"
    __table_args__ = (Index("ix_responses_prompt_text", "prompt_id", "text_hash"),)
    id: Mapped[uuid.UUID] = new_id()
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id"))
    text: Mapped[str]
    text_hash: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"))
    sampling: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    erased_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()


class Snapshot(Base):
    """Training data, frozen: training reads these, never the live tables."""

    __tablename__ = "snapshots"
    id: Mapped[uuid.UUID] = new_id()
    kind: Mapped[DatasetKind] = mapped_column(text_enum(DatasetKind))
    sources: Mapped[dict[str, Any]]  # {"project": id} or {"datasets": [id, ...]}, and the last submission seq seen
    sha256: Mapped[str] = mapped_column(String(64))  # of the canonical JSONL
    rows: Mapped[int]
    # of a project: what told how it stood when this was made; while it stands so it need not be read again
    seen: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    erased_rows: Mapped[int] = mapped_column(server_default=sql("0"))  # whose lines are empty now
    erased_at: Mapped[datetime | None]  # since when; nothing reads it any more, since the hash is of the whole
    name: Mapped[str | None]
    notes: Mapped[str] = notes_text()
    tags: Mapped[list[Any]] = tag_list()
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()


class SnapshotRow(Base):
    __tablename__ = "snapshot_rows"
    snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("snapshots.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[str]  # one canonical line of a record in alignment.shared.records; empty: erased
    submission_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("submissions.id"), index=True)
    dataset_id: Mapped[uuid.UUID | None]
    dataset_row: Mapped[int | None]
