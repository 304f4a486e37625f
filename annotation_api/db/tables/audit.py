"""Who did what: append-only, each row sealed with the one before it."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, text_enum


class AuditOutcome(StrEnum):
    DONE = "done"
    REPLAYED = "replayed"  # a repeat with the same Idempotency-Key: the stored answer was given again
    FORBIDDEN = "forbidden"  # the person's role does not allow it
    WRONG_CREDENTIALS = "wrong-credentials"  # a sign-in that failed


class AuditRow(Base):
    """Who did what. Append-only; `sha256` seals the row and the one before it (`db.audit.ledger`)."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # from 1, without gaps
    at: Mapped[datetime]
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"), index=True)  # unset: nobody
    pseudonym: Mapped[str | None]
    action: Mapped[str]  # method and route, POST /v1/jobs/{job_id}:cancel
    objects: Mapped[dict[str, Any]]  # the ids in the path, by name
    outcome: Mapped[AuditOutcome] = mapped_column(text_enum(AuditOutcome))
    request_id: Mapped[str]
    address: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
