"""What was asked to be erased, how far it is, and what came of it. Neither content nor names: ids, hashes, counts."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables.base import Base, new_id, now, text_enum


class ErasureState(StrEnum):
    QUEUED = "queued"  # waits for the dispatcher
    RUNNING = "running"  # a process is at it; `lease_until` says that it lives
    SUCCEEDED = "succeeded"  # nothing of it is left but what docs/quality.md names
    FAILED = "failed"  # nothing was erased; `error` says why


class Erasure(Base):
    __tablename__ = "erasures"
    __table_args__ = (
        Index("ix_erasures_waiting", "created_at", postgresql_where=sql("state IN ('queued', 'running')")),
    )
    id: Mapped[uuid.UUID] = new_id()
    scope: Mapped[ErasureScope] = mapped_column(text_enum(ErasureScope))
    target: Mapped[dict[str, Any]]  # {"person": id}, {"project": id} or {"key": the prompt's hash}
    # the messages of a record: what copies of it are known by; gone when the work is done
    sought: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id"))  # only in it; unset: everywhere
    reason: Mapped[str]
    state: Mapped[ErasureState] = mapped_column(text_enum(ErasureState), server_default="queued")
    step: Mapped[str] = mapped_column(server_default="")  # what it is at
    done: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))  # rows emptied
    total: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))  # rows to be emptied, as was foreseen
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))  # rows and files by what they are
    error: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime] = now()
    finished_at: Mapped[datetime | None]
