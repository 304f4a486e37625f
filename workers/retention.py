"""Checkpoints that nobody will go on from any more are removed, folder and row.

A job that has succeeded needs none. One that failed or was cancelled may be retried, so its checkpoints stay
for some days; those of a paused, queued or running job stay. While an attempt runs, the folders of earlier
ones go as soon as it has saved enough of its own: from then on it reads none of theirs.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api.db.job_machine import DEAD, LIVE
from annotation_api.db.tables import Job, JobState, SavedCheckpointRow

ENOUGH = 2  # whole checkpoints of an attempt's own: the newest may turn out damaged
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIVE_EPOCH = re.compile(r"[0-9]+")


def sweep_checkpoints(session: Session, home: Path, days: float) -> int:
    """Remove what is of no more use below HOME/checkpoints; the number of folders removed.

    Jobs that this database does not know are left alone: they may be another's.
    """
    found = {uuid.UUID(path.name): path for path in (home / "checkpoints").glob("*") if UUID.fullmatch(path.name)}
    jobs = session.scalars(select(Job).where(Job.id.in_(found))).all()
    expired = _expired(session, jobs, days)
    removed = 0
    for job in jobs:
        folder = found[job.id]
        doomed = [folder] if job.id in expired else list(_overtaken(session, job, folder))
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)
        removed += len(doomed)
        _mark_removed(session, job.id, folder)
    return removed


def _expired(session: Session, jobs: Sequence[Job], days: float) -> set[uuid.UUID]:
    """The jobs that keep no checkpoint at all."""
    succeeded = {job.id for job in jobs if job.state is JobState.SUCCEEDED}
    long_ago = Job.finished_at <= func.clock_timestamp() - timedelta(days=days)
    ended = [job.id for job in jobs if job.state in DEAD]
    return succeeded | set(session.scalars(select(Job.id).where(Job.id.in_(ended), Job.state.in_(DEAD), long_ago)))


def _overtaken(session: Session, job: Job, folder: Path) -> Iterator[Path]:
    """Folders of attempts before the live one, once it has saved enough itself."""
    if job.state not in LIVE:
        return
    own = [path for path in folder.glob(f"{job.epoch}/**/manifest.json") if "partial" not in path.parts]
    rows = select(func.count()).where(
        SavedCheckpointRow.job_id == job.id,
        SavedCheckpointRow.epoch == job.epoch,
        SavedCheckpointRow.removed_at.is_(None),
    )
    if min(len(own), session.scalar(rows) or 0) < ENOUGH:
        return
    for path in folder.iterdir():
        if LIVE_EPOCH.fullmatch(path.name) and int(path.name) < job.epoch:
            yield path


def _mark_removed(session: Session, job_id: uuid.UUID, folder: Path) -> None:
    """Say of every row whether its folder is still there: stages remove old checkpoints themselves, too."""
    rows = select(SavedCheckpointRow.name).where(
        SavedCheckpointRow.job_id == job_id, SavedCheckpointRow.removed_at.is_(None)
    )
    gone = [name for name in session.scalars(rows) if not (folder / name).is_dir()]
    if gone:
        these = (SavedCheckpointRow.job_id == job_id, SavedCheckpointRow.name.in_(gone))
        session.execute(update(SavedCheckpointRow).where(*these).values(removed_at=func.clock_timestamp()))
