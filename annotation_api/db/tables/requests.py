"""What the API remembers of requests: answers to repeats, and the use of limits."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.tables.base import Base, now


class IdempotencyKey(Base):
    """A POST that was answered: the same key and body get the same answer."""

    __tablename__ = "idempotency_keys"
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))  # method, path and body
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = now()


class RateCounter(Base):
    """What somebody used up of a limit until `ends_at`; shared by all API processes (`db.limits`)."""

    __tablename__ = "rate_counters"
    key: Mapped[str] = mapped_column(primary_key=True)
    spent: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[datetime] = mapped_column(index=True)
