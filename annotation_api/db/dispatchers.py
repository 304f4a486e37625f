"""The dispatchers that say that they are there: the API knows from these rows whether jobs can run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from annotation_api.db.tables import DispatcherRow, RayState

ALIVE_SECONDS = 30
FORGOTTEN = timedelta(days=1)


def report(session: Session, dispatcher: str, *, slots: int, busy: int, ray: RayState) -> None:
    """`dispatcher` (host:pid) is at work: `busy` of its `slots` are taken. Long gone ones are forgotten."""
    clock = func.clock_timestamp()
    now = {"slots": slots, "busy": busy, "ray": ray, "seen_at": clock}
    statement = insert(DispatcherRow).values(id=dispatcher, started_at=clock, **now)
    session.execute(statement.on_conflict_do_update(index_elements=[DispatcherRow.id], set_=now))
    session.execute(delete(DispatcherRow).where(DispatcherRow.seen_at < clock - FORGOTTEN))


def leave(session: Session, dispatcher: str) -> None:
    """It stops as planned."""
    session.execute(delete(DispatcherRow).where(DispatcherRow.id == dispatcher))


def alive(session: Session) -> Sequence[DispatcherRow]:
    """Those that were seen within ALIVE_SECONDS."""
    since = func.clock_timestamp() - timedelta(seconds=ALIVE_SECONDS)
    return session.scalars(select(DispatcherRow).where(DispatcherRow.seen_at > since).order_by(DispatcherRow.id)).all()
