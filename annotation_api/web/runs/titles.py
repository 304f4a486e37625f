"""What models and jobs are called where people look for them: a job's name leads, and goes over to what it made."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.db.tables import Job, ModelVersion, made_name

Titles = dict[uuid.UUID, str]


def of_models(session: Session, keys: Collection[uuid.UUID]) -> Titles:
    """By id. A model that still has the name that its making gave it is called as its job, where that has a name."""
    query = select(ModelVersion.id, ModelVersion.name, ModelVersion.job_id).where(ModelVersion.id.in_(keys))
    models = session.execute(query).all()
    # A select of its own: who may see a model is asked by way of its job, and who may see the job besides.
    named = select(Job.id, Job.stage, Job.name).where(Job.id.in_([row.job_id for row in models]), Job.name.is_not(None))
    jobs = {row.id: row for row in session.execute(named)}
    return {
        row.id: job.name if (job := jobs.get(row.job_id)) and row.name == made_name(job.stage, job.id) else row.name
        for row in models
    }


def of_nodes(session: Session, keys: Collection[uuid.UUID]) -> Titles:
    """Of the models and the jobs with a name among what a lineage shows."""
    jobs = select(Job.id, Job.name).where(Job.id.in_(keys), Job.name.is_not(None))
    return of_models(session, keys) | {key: name for key, name in session.execute(jobs) if name}
