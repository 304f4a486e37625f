"""Checkpoints that nobody will go on from any more are removed, folder and row.

A job that has succeeded needs none. One that failed or was cancelled may be retried, so its checkpoints stay
for some days; those of a paused, queued or running job stay. While an attempt runs, the folders of earlier
ones go as soon as it has saved enough of its own: from then on it reads none of theirs.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from annotation_api.db.jobs.machine import DEAD, LIVE
from annotation_api.db.tables import CheckpointRow, Job, JobState

ENOUGH = 2  # whole checkpoints of an attempt's own: the newest may turn out damaged
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EPOCH = re.compile(r"[0-9]+")


def sweep_checkpoints(session: Session, home: Path, days: float) -> int:
    """Remove what is of no more use below HOME/checkpoints; the number of folders removed.

    Jobs that this database does not know are left alone: they may be another's.
    """
    found = {uuid.UUID(path.name): path for path in (home / "checkpoints").glob("*") if UUID.fullmatch(path.name)}
    over = _over(session, found, days)
    doomed = [found[job_id] for job_id in over if job_id in found]
    for job in session.scalars(select(Job).where(Job.id.in_(found.keys() - over))):
        doomed += _overtaken(session, job, found[job.id])
    for path in doomed:
        shutil.rmtree(path, ignore_errors=True)
    _mark_removed(session, over, found)
    return len(doomed)


def _over(session: Session, found: Collection[uuid.UUID], days: float) -> set[uuid.UUID]:
    """Jobs that keep no checkpoint any more, locked: nobody takes one up again while its folders go."""
    unmarked = select(CheckpointRow.job_id).where(CheckpointRow.removed_at.is_(None))
    long_ago = Job.finished_at <= func.clock_timestamp() - timedelta(days=days)
    ended = or_(Job.state == JobState.SUCCEEDED, and_(Job.state.in_(DEAD), long_ago))
    query = select(Job.id).where(ended, or_(Job.id.in_(found), Job.id.in_(unmarked)))
    return set(session.scalars(query.with_for_update(skip_locked=True)))


def _overtaken(session: Session, job: Job, folder: Path) -> Iterator[Path]:
    """Folders of attempts before the live one, once it has saved enough itself."""
    if job.state not in LIVE:
        return
    own = [path for path in folder.glob(f"{job.epoch}/**/manifest.json") if "partial" not in path.parts]
    rows = select(func.count()).where(
        CheckpointRow.job_id == job.id,
        CheckpointRow.epoch == job.epoch,
        CheckpointRow.removed_at.is_(None),
    )
    if min(len(own), session.scalar(rows) or 0) < ENOUGH:
        return
    for path in folder.iterdir():
        if EPOCH.fullmatch(path.name) and int(path.name) < job.epoch:
            yield path


def _mark_removed(session: Session, over: set[uuid.UUID], found: Mapping[uuid.UUID, Path]) -> None:
    """Say of every row whether its folder is still there: stages remove old checkpoints themselves, too."""
    rows = select(CheckpointRow).where(
        CheckpointRow.job_id.in_(over | found.keys()), CheckpointRow.removed_at.is_(None)
    )
    for row in session.scalars(rows):
        if row.job_id in over or not (found[row.job_id] / row.name).is_dir():
            row.removed_at = func.clock_timestamp()
    session.flush()
