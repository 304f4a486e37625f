"""What is asked of the audit."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import AuditOutcome, AuditRow


@dataclass(frozen=True)
class AuditFilter:
    """Which rows; what is unset does not matter."""

    person: uuid.UUID | None = None
    action: str | None = None  # part of it
    object: str | None = None  # the id of a thing that it was done to
    outcome: AuditOutcome | None = None
    since: datetime | None = None
    until: datetime | None = None


def rows(session: Session, wanted: AuditFilter, limit: int, before: int | None = None) -> Sequence[AuditRow]:
    """Newest first, those before row number `before`."""
    query = select(AuditRow).where(*_conditions(wanted)).order_by(AuditRow.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.seq < before)
    return session.scalars(query).all()


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool] | None] = [
        AuditRow.person_id == wanted.person if wanted.person else None,
        func.strpos(AuditRow.action, wanted.action) > 0 if wanted.action else None,
        _holds(wanted.object) if wanted.object else None,
        AuditRow.outcome == wanted.outcome if wanted.outcome else None,
        AuditRow.at >= wanted.since if wanted.since else None,
        AuditRow.at < wanted.until if wanted.until else None,
    ]
    return [condition for condition in found if condition is not None]


def _holds(thing: str) -> ColumnElement[bool]:
    """One of the ids is this, or is a path that ends with it."""
    value = func.jsonb_each_text(AuditRow.objects).table_valued("key", "value").c.value
    return select(literal(1)).where((value == thing) | func.right(value, len(thing) + 1).op("=")(f"/{thing}")).exists()
