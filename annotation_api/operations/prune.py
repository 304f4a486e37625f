"""`rankloop prune`: removes artifacts that nothing needs any more, and rows that have expired; seals the audit.

An artifact is kept while its model has an alias, an open task shows what it wrote, a job that has not
ended names it, it is younger than the limit, or a model that is kept descends from it. Rows stay and
say when their files went. They are committed first: a prune that is killed leaves files that no row
promises, which the next one removes.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session

from annotation_api.audit import sealed
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.jobs.machine import ENDED
from annotation_api.db.tables import (
    Alias,
    Artifact,
    IdempotencyKey,
    Invitation,
    Job,
    JobState,
    LoginSession,
    ModelParent,
    ModelVersion,
    ResponseRow,
    Task,
    TaskResponse,
)
from annotation_api.operations.local import OperationError, files_mine, local_database
from annotation_api.settings import Settings

KEYS_KEPT = timedelta(days=7)  # how long a POST may be repeated
IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Unused:
    """A finished job's files that nothing needs."""

    job: str
    stage: str
    model: str | None  # the version that the job made
    finished: str
    bytes: int


@dataclass
class PruneReport:
    days: int | None  # None: no artifacts are removed
    removed: bool  # False: only listed
    artifacts: list[Unused] = field(default_factory=list)
    bytes: int = 0
    expired: dict[str, int] = field(default_factory=dict)
    audit_files: int = 0  # made of rows of the audit, which stay in the database


def prune(settings: Settings, days: int | None, *, dry_run: bool) -> PruneReport:
    """Remove, or only list. Raises OperationError, DatabaseUnavailable, OSError."""
    days = settings.artifact_days if days is None else days
    if days is not None and days < 0:
        raise OperationError(f"--days is {days}; it must be 0 or more.")
    with local_database(settings) as url:
        engine = make_engine(url, application_name="rankloop-prune")
        try:
            with files_mine(engine):
                return _prune(engine, settings.home.resolve(), days, dry_run)
        finally:
            engine.dispose()


def _prune(engine: Engine, home: Path, days: int | None, dry_run: bool) -> PruneReport:
    report = PruneReport(days, removed=not dry_run)
    with session_factory(engine).begin() as session:
        unused = [] if days is None else _unused(session, days)
        report.artifacts = [_shown(session, job) for job in unused]
        report.bytes = sum(artifact.bytes for artifact in report.artifacts)
        report.expired = _expired(session, dry_run)
        if not dry_run:
            _mark(session, [job.id for job in unused])
    if not dry_run:
        with session_factory(engine)() as session:
            _remove_files(session, home)
            report.audit_files = sealed.write(session, home)
    return report


# ---------------------------------------------------------------- what nothing needs


def _unused(session: Session, days: int) -> list[Job]:
    old = func.clock_timestamp() - timedelta(days=days)
    present = select(Artifact.job_id).where(Artifact.removed_at.is_(None))
    finished = select(Job).where(Job.state == JobState.SUCCEEDED, Job.finished_at < old, Job.id.in_(present))
    jobs = session.scalars(finished.order_by(Job.finished_at, Job.id)).all()
    kept = _kept(session, {job.id for job in jobs})
    models = {row.job_id: row.id for row in session.execute(select(ModelVersion.job_id, ModelVersion.id))}
    return [job for job in jobs if job.id not in kept and models.get(job.id) not in kept]


def _kept(session: Session, old: set[uuid.UUID]) -> set[uuid.UUID]:
    """Ids of models and jobs that something needs, ancestors included; jobs not in `old` are too young."""
    kept = set(session.scalars(select(Alias.model_id))) | _open(session) | _named_by_jobs(session)
    versions = session.execute(select(ModelVersion.id, ModelVersion.job_id, ModelVersion.removed_at)).all()
    kept |= {row.id for row in versions if row.removed_at is None and (row.job_id not in old or row.job_id in kept)}
    parents: dict[uuid.UUID, list[uuid.UUID]] = {}
    for edge in session.scalars(select(ModelParent)):
        parents.setdefault(edge.model_id, []).append(edge.parent_id)
    waiting = list(kept)
    while waiting:
        fresh = [parent for parent in parents.get(waiting.pop(), ()) if parent not in kept]
        kept.update(fresh)
        waiting += fresh
    return kept


def _open(session: Session) -> set[uuid.UUID]:
    """Models and sampling jobs whose responses people still judge."""
    shown = (
        select(ResponseRow.model_id, ResponseRow.job_id)
        .join(TaskResponse, TaskResponse.response_id == ResponseRow.id)
        .join(Task, Task.id == TaskResponse.task_id)
        .where(Task.judged < Task.overlap, or_(ResponseRow.model_id.is_not(None), ResponseRow.job_id.is_not(None)))
    )
    return {key for row in session.execute(shown.distinct()) for key in row if key is not None}


def _named_by_jobs(session: Session) -> set[uuid.UUID]:
    """Models and jobs in the inputs of jobs that have not ended."""
    inputs: Iterable[dict[str, Any]] = session.scalars(select(Job.inputs).where(Job.state.not_in(ENDED)))
    return {uuid.UUID(found) for given in inputs for found in IDS.findall(json.dumps(given))}


def _shown(session: Session, job: Job) -> Unused:
    size = session.scalar(select(func.coalesce(func.sum(Artifact.size), 0)).where(Artifact.job_id == job.id))
    model = session.scalar(select(ModelVersion.id).where(ModelVersion.job_id == job.id))
    assert isinstance(job.finished_at, datetime)
    finished = job.finished_at.isoformat(timespec="seconds")
    return Unused(str(job.id), job.stage.value, str(model) if model else None, finished, int(size or 0))


# ---------------------------------------------------------------- and away with it


def _mark(session: Session, jobs: list[uuid.UUID]) -> None:
    for table in (Artifact, ModelVersion):
        session.execute(update(table).where(table.job_id.in_(jobs)).values(removed_at=func.clock_timestamp()))


def _remove_files(session: Session, home: Path) -> None:
    """The folders of all removed artifacts, those of an earlier prune that was killed included."""
    gone = select(Artifact.job_id, Job.epoch).join(Job, Job.id == Artifact.job_id)
    for job_id, epoch in session.execute(gone.where(Artifact.removed_at.is_not(None)).distinct()):
        folder = home / "artifacts" / str(job_id) / str(epoch)
        if folder.exists():
            shutil.rmtree(folder)
        if folder.parent.exists() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _expired(session: Session, dry_run: bool) -> dict[str, int]:
    """How many rows of each kind have outlived their use; they are deleted unless `dry_run`."""
    now = func.clock_timestamp()
    conditions: dict[str, tuple[Any, Any]] = {
        "idempotency keys": (IdempotencyKey, IdempotencyKey.created_at < now - KEYS_KEPT),
        "invitations": (Invitation, (Invitation.expires_at < now) & Invitation.used_by.is_(None)),
        "sign-ins": (LoginSession, LoginSession.expires_at < now),
    }
    counted = {}
    for name, (table, condition) in conditions.items():
        query: Select[Any] = select(func.count()).select_from(table).where(condition)
        counted[name] = session.scalar(query) or 0
        if not dry_run:
            session.execute(delete(table).where(condition))
    return counted
