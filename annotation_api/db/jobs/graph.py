"""Which job needs which. Rows are locked from the older to the younger, everywhere."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.db.jobs.records import JobError
from annotation_api.db.tables import Job, JobDependency, ModelVersion

FRESH = {"populate_existing": True}  # read what the database says, never this session's memory


def hold(session: Session, ids: Collection[uuid.UUID]) -> Sequence[Job]:
    """The jobs, kept as they are until the end of the transaction."""
    if not ids:
        return []
    query = select(Job).where(Job.id.in_(ids)).order_by(Job.created_at, Job.id)
    return session.scalars(query.with_for_update(read=True), execution_options=FRESH).all()


def needs(session: Session, job_id: uuid.UUID) -> Sequence[Job]:
    """The jobs that this one waits for, as they stand now."""
    query = select(Job).join(JobDependency, JobDependency.needs_id == Job.id).where(JobDependency.job_id == job_id)
    return session.scalars(query, execution_options=FRESH).all()


def lock_dependants(session: Session, job_id: uuid.UUID) -> Sequence[Job]:
    """Every job that needs this one, directly or through others: locked, the oldest first.

    A job is younger than what it needs, so this is also an order in which needs come first.
    """
    found = select(JobDependency.job_id).where(JobDependency.needs_id == job_id).cte("found", recursive=True)
    found = found.union(select(JobDependency.job_id).join(found, JobDependency.needs_id == found.c.job_id))
    query = select(Job).where(Job.id.in_(select(found.c.job_id))).order_by(Job.created_at, Job.id)
    return session.scalars(query.with_for_update(), execution_options=FRESH).all()


def resolve_inputs(session: Session, job: Job) -> dict[str, Any]:
    """The job's inputs with every {"job": id} replaced by {"model": id of what that job made}.

    Raises JobError when that job made no model.
    """
    resolved: dict[str, Any] = _resolve(session, job.inputs)
    return resolved


def _resolve(session: Session, value: Any) -> Any:
    if isinstance(value, list):
        return [_resolve(session, item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"job"}:
        return {name: _resolve(session, item) for name, item in value.items()}
    model_id = session.scalar(select(ModelVersion.id).where(ModelVersion.job_id == uuid.UUID(value["job"])))
    if model_id is None:
        raise JobError(
            Sentence("input-made-no-model", "input %(value)s names a job that has made no model", value=value)
        )
    return {"model": str(model_id)}
