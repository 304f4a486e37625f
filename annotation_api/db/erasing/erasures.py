"""Erasures as a list that the dispatcher works off: asked for, claimed, told as they go, ended.

One whose process died is taken up again when its lease has run out. One that a job stands in the way of fails with a
word on which, before it has done anything.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.sentence import Sentence, packed
from annotation_api.db.erasing import plan as foreseen
from annotation_api.db.erasing.work import Busy, Eraser
from annotation_api.db.leased_rows import LeasedRows
from annotation_api.db.tables import Erasure, ErasureState

WAITING = LeasedRows(Erasure, ErasureState, timedelta(seconds=120))
PAUSE = timedelta(seconds=20)  # while a backup is made, or others hold what is to be emptied
HELD = ("55P03", "40P01")  # Postgres's codes: waited for too long, or somebody waited for us
TABLES = ("prompts", "responses", "submissions", "decisions", "comments", "dataset_rows", "snapshot_rows", "job_events")


class InUse(Exception):
    """A job reads what is to be erased; `said` says which."""

    def __init__(self, said: Sentence) -> None:
        super().__init__(said)
        self.said = said


def begin(session: Session, erasure: Erasure) -> foreseen.Foreseen:
    """Put it on the list, unless it stands there; what it will take. Raises InUse."""
    plan = foreseen.plan(session, erasure)
    require_free(session, erasure, plan)
    erasure.total = plan.rows
    session.add(erasure)
    session.flush()
    session.refresh(erasure)
    return plan


def standing(session: Session, erasure: Erasure) -> Erasure | None:
    """One for the same that has not ended."""
    same = select(Erasure).where(
        Erasure.scope == erasure.scope,
        Erasure.target == erasure.target,
        Erasure.project_id.is_(None) if erasure.project_id is None else Erasure.project_id == erasure.project_id,
        Erasure.state.in_((ErasureState.QUEUED, ErasureState.RUNNING)),
    )
    return session.scalars(same.limit(1)).first()


def require_free(session: Session, erasure: Erasure, plan: foreseen.Foreseen) -> None:
    """Raise InUse while a job that has not ended reads what will go."""
    if jobs := foreseen.readers(session, erasure, [one.id for one in plan.snapshots]):
        more = f" and {len(jobs) - 3} more" if len(jobs) > 3 else ""
        said = "What is to be erased is read by %(jobs)s. Wait until it ends, or cancel it; then ask again."
        raise InUse(Sentence("erased-while-read", said, jobs=", ".join(jobs[:3]) + more))


def work_off(sessions: sessionmaker[Session], home: Path) -> int:
    """Do all that wait, one after another; how many were ended."""
    done = 0
    for row in WAITING.each(sessions):
        if not _do(sessions, home, row):
            break
        done += 1
    return done


def _do(sessions: sessionmaker[Session], home: Path, row: Erasure) -> bool:
    """False where the rest must wait for a backup, or for others who hold what it needs."""
    try:
        if not row.counts:  # nothing is done yet: a job may have come since it was asked for
            with sessions.begin() as session:
                require_free(session, row, foreseen.plan(session, row))
        Eraser(sessions, home, row, WAITING.lease).run()
    except InUse as reason:
        _fail(sessions, row.id, packed(reason.said))
    except Busy:
        _rest(sessions, row.id, "waits for a backup")
        return False
    except OperationalError as reason:
        if getattr(reason.orig, "sqlstate", None) not in HELD:
            raise
        _rest(sessions, row.id, "waits for others")
        return False
    return True


def _rest(sessions: sessionmaker[Session], key: uuid.UUID, step: str) -> None:
    """It is taken up again in a while."""
    with sessions.begin() as session:
        row = session.get_one(Erasure, key)
        row.step, row.lease_until = step, func.clock_timestamp() + PAUSE


def _fail(sessions: sessionmaker[Session], key: uuid.UUID, error: str) -> None:
    with sessions.begin() as session:
        row = session.get_one(Erasure, key)
        row.state, row.error, row.sought, row.lease_until = ErasureState.FAILED, error, None, None
        row.finished_at = func.clock_timestamp()


def tidy(engine: Engine) -> None:
    """Give back the room of the old rows, so that new ones are written over them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in TABLES:
            connection.execute(text(f"VACUUM {table}"))
