"""The end of what an attempt wrote: from its file while that is there, else what was kept with its error."""

from __future__ import annotations

import uuid
from pathlib import Path

from sqlalchemy.orm import Session

from annotation_api.db.tables import JobAttempt
from annotation_api.http.errors import not_found
from annotation_api.jobs import queries
from annotation_api.jobs.detail_schemas import LogOut
from annotation_api.settings import Settings

TAIL_BYTES = 2**18  # of a file that are looked at
LINES = 100


def tail(session: Session, settings: Settings, job: uuid.UUID, epoch: int | None, lines: int = LINES) -> LogOut:
    """The last lines of the attempt `epoch`; without one, of the newest attempt."""
    attempt = _attempt(session, job, epoch)
    if attempt is None:
        return LogOut(epoch=None, lines=[])
    path = settings.home / "logs" / f"{job}-{attempt.epoch}.log"
    text = _end_of(path) if path.is_file() else str((attempt.error or {}).get("log") or "")
    return LogOut(epoch=attempt.epoch, lines=text.splitlines()[-lines:])


def _attempt(session: Session, job: uuid.UUID, epoch: int | None) -> JobAttempt | None:
    if epoch is None:
        return next(iter(queries.attempts(session, job, 1)), None)
    found = session.get(JobAttempt, (job, epoch))
    if found is None:
        raise not_found("attempt", epoch)
    return found


def _end_of(path: Path) -> str:
    """Whole lines from the end of a file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        data = file.read()
    whole = data if size <= TAIL_BYTES else data.partition(b"\n")[2]
    return whole.decode("utf-8", errors="replace")
