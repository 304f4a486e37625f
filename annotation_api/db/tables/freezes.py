"""Freezes that take longer than a request: who asked for what, how far it is, what became of it."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.kinds import DatasetKind
from annotation_api.db.tables.base import Base, new_id, now, text_enum


class FreezeState(StrEnum):
    QUEUED = "queued"  # waits for the dispatcher
    RUNNING = "running"  # a process writes the lines; `lease_until` says that it lives
    SUCCEEDED = "succeeded"  # `snapshot_id` is the snapshot
    FAILED = "failed"  # `error` says why


class Freeze(Base):
    __tablename__ = "freezes"
    __table_args__ = (
        Index("ix_freezes_waiting", "created_at", postgresql_where=sql("state IN ('queued', 'running')")),
    )
    id: Mapped[uuid.UUID] = new_id()
    kind: Mapped[DatasetKind] = mapped_column(text_enum(DatasetKind))
    source: Mapped[dict[str, Any]]  # {"project": id} or {"dataset": id}
    labels: Mapped[dict[str, Any]] = mapped_column(
        server_default=sql("'{}'::jsonb")
    )  # of the snapshot, once it is there
    state: Mapped[FreezeState] = mapped_column(text_enum(FreezeState), server_default="queued")
    done: Mapped[int] = mapped_column(server_default=sql("0"))  # rows written
    total: Mapped[int]  # rows to be written, as far as was known at the start
    snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    error: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()
    finished_at: Mapped[datetime | None]
