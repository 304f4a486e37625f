"""Which of a task's decisions stands, said once for all who ask: the one that nothing replaced, unless it is erased."""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists
from sqlalchemy.orm import aliased

from annotation_api.db.tables import TaskDecision


def is_last() -> ColumnElement[bool]:
    """No other decision took its place."""
    later = aliased(TaskDecision)
    return ~exists().where(later.supersedes == TaskDecision.id)


def stands() -> ColumnElement[bool]:
    return is_last() & TaskDecision.erased_at.is_(None)
