"""What pages ask of the tables beyond the features' own queries: short lists, newest first."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared import gate
from annotation_api.db.tables import (
    Alias,
    Artifact,
    Dataset,
    FeedbackKind,
    Form,
    Job,
    JobEventRow,
    ModelVersion,
    Person,
    Project,
    Snapshot,
    Submission,
)

T = TypeVar("T", Project, Dataset, Snapshot, Job, ModelVersion)
PAGE = 100
SAMPLES_SHOWN = 12
REPORTS = (gate.PAGE, "ppo_report.html")  # of a reward model, of a policy


def newest(session: Session, table: type[T], limit: int = PAGE) -> Sequence[T]:
    return session.scalars(select(table).order_by(table.created_at.desc(), table.id.desc()).limit(limit)).all()


def listed(session: Session, *, archived: bool) -> Sequence[Project]:
    """Projects in the lists, or those in the archive; newest first."""
    away = Project.archived_at.is_not(None) if archived else Project.archived_at.is_(None)
    return session.scalars(
        select(Project).where(away).order_by(Project.created_at.desc(), Project.id).limit(PAGE)
    ).all()


def kinds_asked(session: Session, project_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[FeedbackKind]]:
    """Which kinds of feedback each project ever asked for."""
    rows = session.execute(select(Form.project_id, Form.kind).where(Form.project_id.in_(project_ids)).distinct())
    found: dict[uuid.UUID, list[FeedbackKind]] = {key: [] for key in project_ids}
    for project_id, kind in rows:
        found[project_id].append(kind)
    return found


def has_archived(session: Session) -> bool:
    return session.scalar(select(Project.id).where(Project.archived_at.is_not(None)).limit(1)) is not None


def notes_of(session: Session, job_id: uuid.UUID) -> Sequence[JobEventRow]:
    """State changes and notes, newest first."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.type.in_(("state", "note")))
    return session.scalars(query.order_by(JobEventRow.seq.desc()).limit(PAGE)).all()


def last_of(session: Session, job_id: uuid.UUID, kind: str) -> JobEventRow | None:
    """The newest event of a kind."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.type == kind)
    return session.scalar(query.order_by(JobEventRow.seq.desc()).limit(1))


def last_event(session: Session, job_id: uuid.UUID) -> int:
    return session.scalar(select(func.max(JobEventRow.seq)).where(JobEventRow.job_id == job_id)) or 0


def model_of_job(session: Session, job_id: uuid.UUID) -> ModelVersion | None:
    return session.scalar(select(ModelVersion).where(ModelVersion.job_id == job_id))


def report_of(session: Session, job_id: uuid.UUID | None) -> str | None:
    """The name of the report for people that the job left."""
    query = select(Artifact.name).where(Artifact.job_id == job_id, Artifact.name.in_(REPORTS))
    return session.scalar(query.where(Artifact.removed_at.is_(None), Artifact.erased_at.is_(None)))


def aliases_by_model(session: Session) -> dict[uuid.UUID, list[str]]:
    found: dict[uuid.UUID, list[str]] = {}
    for alias in session.scalars(select(Alias).order_by(Alias.name)):
        found.setdefault(alias.model_id, []).append(alias.name)
    return found


def names_of(session: Session, people: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    query = select(Person.id, Person.name).where(Person.id.in_(people))
    return {row.id: row.name for row in session.execute(query)}


def names_by_pseudonym(session: Session, pseudonyms: Collection[str]) -> dict[str, str]:
    query = select(Person.pseudonym, Person.name).where(Person.pseudonym.in_(pseudonyms))
    return {row.pseudonym: row.name for row in session.execute(query)}


def median_active_ms(session: Session, person: Person, project_id: uuid.UUID) -> float | None:
    """The median time at work on the person's first answers in a project since midnight UTC; None without any."""
    query = select(func.percentile_cont(0.5).within_group(Submission.active_ms)).where(
        Submission.project_id == project_id,
        Submission.person_id == person.id,
        Submission.supersedes.is_(None),
        Submission.created_at >= func.date_trunc("day", func.now(), "UTC"),
    )
    return session.scalar(query)


def origins(session: Session, snapshots: Sequence[Snapshot]) -> dict[uuid.UUID, dict[str, Any]]:
    """What each was frozen from: its kind, id and name."""
    named = {row.id: _source(row) for row in snapshots}
    names = {
        kind: {str(row.id): row.name for row in session.execute(select(table.id, table.name).where(table.id.in_(keys)))}
        for kind, table in (("project", Project), ("dataset", Dataset))
        if (keys := {uuid.UUID(key) for of, key in named.values() if of == kind})
    }
    return {row: {"kind": kind, "id": key, "name": names[kind].get(key, key)} for row, (kind, key) in named.items()}


def _source(snapshot: Snapshot) -> tuple[str, str]:
    """Kind and id."""
    sources = snapshot.sources
    return ("project", sources["project"]) if "project" in sources else ("dataset", sources["datasets"][0])
