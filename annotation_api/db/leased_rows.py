"""Rows that are worked off one after another, each by one process under a lease: freezes, erasures.

A row whose process died is taken up again when its lease has run out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.db.tables import Erasure, Freeze

R = TypeVar("R", Freeze, Erasure)


@dataclass(frozen=True)
class LeasedRows(Generic[R]):
    """The rows of a table that wait."""

    table: type[R]
    states: Any  # FreezeState or ErasureState: the table's own
    lease: timedelta

    def some_wait(self, session: Session) -> bool:
        return session.scalar(select(self.table.id).where(self._free()).limit(1)) is not None

    def claim(self, session: Session) -> R | None:
        """The oldest that nobody works at, which is now the caller's until its lease ends."""
        oldest = select(self.table).where(self._free()).order_by(self.table.created_at).limit(1)
        row = session.scalars(oldest.with_for_update(skip_locked=True)).first()
        if row is not None:
            row.state, row.lease_until = self.states.RUNNING, func.clock_timestamp() + self.lease
            session.flush()
            session.refresh(row)
        return row

    def each(self, sessions: sessionmaker[Session]) -> Iterator[R]:
        """All that wait, one after another, claimed in a transaction of its own."""
        while True:
            with sessions.begin() as session:
                row = self.claim(session)
            if row is None:
                return
            yield row

    def _free(self) -> ColumnElement[bool]:
        dropped = and_(self.table.state == self.states.RUNNING, self.table.lease_until < func.clock_timestamp())
        return or_(self.table.state == self.states.QUEUED, dropped)
