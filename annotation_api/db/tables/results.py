"""What jobs report and leave: events, metrics, checkpoints, files."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, new_id, now


class JobEventRow(Base):
    """Append-only; `seq` rises within a job without gaps and is the SSE event id."""

    __tablename__ = "job_events"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[int]
    type: Mapped[str]  # state, progress, note, samples, look, checkpoint
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = now()


class Metric(Base):
    __tablename__ = "metrics"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    phase: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None] = mapped_column(Float)  # NULL: not finite


class EvaluatedPolicy(Base):
    """A candidate that a stage compared, with what it measured; `chosen` is the one that was kept."""

    __tablename__ = "checkpoints"
    id: Mapped[uuid.UUID] = new_id()
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    epoch: Mapped[int]
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    chosen: Mapped[bool]
    created_at: Mapped[datetime] = now()


class CheckpointRow(Base):
    """A checkpoint that an attempt can go on from: a whole folder below checkpoints/<job>/."""

    __tablename__ = "saved_checkpoints"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # path below checkpoints/<job>/, beginning with the epoch
    epoch: Mapped[int]
    step: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))  # of the manifest
    size: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float)  # what saving took
    created_at: Mapped[datetime] = now()
    removed_at: Mapped[datetime | None]  # the folder is gone


class Artifact(Base):
    """A file of a job's committed folder."""

    __tablename__ = "artifacts"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # path below the artifact folder
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    removed_at: Mapped[datetime | None]  # the file is gone: `rankloop prune`
    erased_at: Mapped[datetime | None]  # the file is gone: it held texts that were erased
