"""What is asked of the tables about jobs."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.db import sql
from annotation_api.db.tables import (
    Artifact,
    CheckpointRow,
    EvaluatedPolicy,
    Job,
    JobAttempt,
    JobDependency,
    JobState,
    Metric,
    Pipeline,
    SnapshotRow,
)
from annotation_api.jobs.wins import Comparison, preference

WAITING = (JobState.BLOCKED, JobState.QUEUED)
_WAITING = """
SELECT count(*) AS jobs FROM (SELECT FROM jobs WHERE state = ANY (%(states)s::text[]) LIMIT %(most)s) AS waiting
"""


def jobs(
    stages: Collection[Stage], states: Collection[JobState], pipeline: uuid.UUID | None, person: uuid.UUID | None
) -> Select[Job]:
    """Jobs of any of the stages and states, where some are named."""
    query = select(Job)
    if stages:
        query = query.where(Job.stage.in_(stages))
    if states:
        query = query.where(Job.state.in_(states))
    if pipeline is not None:
        query = query.where(Job.pipeline_id == pipeline)
    if person is not None:
        query = query.where(Job.created_by == person)
    return query


def pipelines(person: uuid.UUID | None) -> Select[Pipeline]:
    query = select(Pipeline)
    return query if person is None else query.where(Pipeline.created_by == person)


def pipeline_jobs(session: Session, pipelines: Collection[uuid.UUID]) -> Sequence[Job]:
    """In the order of the stages."""
    query = select(Job).where(Job.pipeline_id.in_(pipelines))
    return session.scalars(query.order_by(Job.created_at, Job.id)).all()


class Needed(NamedTuple):
    """A job that another waits for or waited for, as it is called."""

    id: uuid.UUID
    name: str | None
    stage: Stage


def needs(session: Session, jobs: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Needed]]:
    """For each job those that it waits for or waited for."""
    found: dict[uuid.UUID, list[Needed]] = {job: [] for job in jobs}
    edges = select(JobDependency.job_id, Job.id, Job.name, Job.stage).join(Job, Job.id == JobDependency.needs_id)
    edges = edges.where(JobDependency.job_id.in_(jobs)).order_by(JobDependency.needs_id)
    for job, key, name, stage in session.execute(edges):
        found[job].append(Needed(key, name, stage))
    return found


def waiting_jobs(session: Session, most: int) -> int:
    """How many jobs wait, counted to `most`."""
    return int(sql.one_row(session, _WAITING, states=[state.value for state in WAITING], most=most).jobs)


class EventRow(NamedTuple):
    """An event as it is sent; `text` is its data as JSON on one line."""

    seq: int
    type: str
    text: str


@dataclass(frozen=True)
class NextEvents:
    """A job's state and its next events. One statement read both: no event of an ended job is still to come."""

    job: uuid.UUID
    state: JobState
    rows: list[EventRow]


_NEXT_EVENTS = """
SELECT j.id, j.state, e.seq, e.type, e.data::text AS text
FROM unnest(%(jobs)s::uuid[], %(sent)s::int[]) AS asked (job, sent) JOIN jobs j ON j.id = asked.job
LEFT JOIN LATERAL (
    SELECT seq, type, data FROM job_events
    WHERE job_id = asked.job AND seq > asked.sent ORDER BY seq LIMIT %(limit)s
) e ON true
ORDER BY j.id, e.seq
"""


def next_events(session: Session, sent: Mapping[uuid.UUID, int], limit: int) -> list[NextEvents]:
    """Of each job the first `limit` events after the number that it is given with."""
    found = sql.rows(session, _NEXT_EVENTS, jobs=list(sent), sent=list(sent.values()), limit=limit)
    return [
        NextEvents(job, JobState(state), [EventRow(row.seq, row.type, row.text) for row in rows if row.seq is not None])
        for (job, state), rows in itertools.groupby(found, key=lambda row: (row.id, row.state))
    ]


def metrics(
    session: Session, job: uuid.UUID, name: str | None, phase: str | None, after_step: int
) -> Iterator[tuple[str, str, int, float | None]]:
    """(phase, name, step, value) in that order; a step that several attempts measured counts once, the latest."""
    key = (Metric.phase, Metric.name, Metric.step)
    query = select(*key, Metric.value).where(Metric.job_id == job, Metric.step > after_step)
    if name is not None:
        query = query.where(Metric.name == name)
    if phase is not None:
        query = query.where(Metric.phase == phase)
    rows = session.execute(query.ext(distinct_on(*key)).order_by(*key, Metric.epoch.desc()))
    yield from ((at, what, step, value) for at, what, step, value in rows)


def saved_checkpoints(session: Session, job: uuid.UUID) -> Sequence[CheckpointRow]:
    query = select(CheckpointRow).where(CheckpointRow.job_id == job)
    return session.scalars(query.order_by(CheckpointRow.created_at, CheckpointRow.step)).all()


def evaluated_policies(session: Session, job: uuid.UUID) -> Sequence[EvaluatedPolicy]:
    return session.scalars(
        select(EvaluatedPolicy).where(EvaluatedPolicy.job_id == job).order_by(EvaluatedPolicy.step)
    ).all()


def attempts(session: Session, job: uuid.UUID, limit: int) -> Sequence[JobAttempt]:
    """The newest first."""
    query = select(JobAttempt).where(JobAttempt.job_id == job)
    return session.scalars(query.order_by(JobAttempt.epoch.desc()).limit(limit)).all()


class Spent(NamedTuple):
    """When a job's first attempt began, and how long all that have ended took together."""

    began: datetime
    seconds: float | None


def spent(session: Session, jobs: Collection[uuid.UUID]) -> dict[uuid.UUID, Spent]:
    """What the job's page says of each attempt, claimed to ended, summed; nothing for a job without one."""
    took = func.extract("epoch", func.sum(JobAttempt.ended_at - JobAttempt.claimed_at))
    query = select(JobAttempt.job_id, func.min(JobAttempt.claimed_at), took).where(JobAttempt.job_id.in_(jobs))
    rows = session.execute(query.group_by(JobAttempt.job_id))
    return {job: Spent(began, None if seconds is None else float(seconds)) for job, began, seconds in rows}


def artifacts(session: Session, job: uuid.UUID) -> Sequence[Artifact]:
    return session.scalars(select(Artifact).where(Artifact.job_id == job).order_by(Artifact.name)).all()


_COMPARISONS = """
SELECT look.job_id AS job, (look.data->>'update')::int AS update, pair->>'before' = pair->>'response' AS identical,
    (pair->>'score')::float AS score, (pair->>'score_before')::float AS score_before, (pair->>'kl')::float AS kl,
    coalesce(task.judged < task.overlap, false) AS waits,
    (
        SELECT r.id::text FROM task_responses tr JOIN responses r ON r.id = tr.response_id
        WHERE tr.task_id = task.id AND r.sampling->'update' = look.data->'update'
    ) AS response,
    ARRAY(
        SELECT s.payload->'groups' FROM assignments a JOIN submissions s ON s.assignment_id = a.id
        WHERE a.task_id = task.id AND s.erased_at IS NULL
            AND NOT EXISTS (SELECT FROM submissions later WHERE later.supersedes = s.id)
    ) AS groups
FROM job_events look
CROSS JOIN LATERAL jsonb_array_elements(look.data->'rows') pair
LEFT JOIN tasks task ON task.id = (pair->>'task')::uuid
WHERE look.job_id = ANY(%(jobs)s) AND look.type = 'look'
ORDER BY look.job_id, update
"""


def comparisons(session: Session, job: uuid.UUID) -> Iterator[Comparison]:
    """Every prompt of every evaluation of the job, with what people say of it now; corrected answers do not count."""
    return iter(comparisons_of(session, [job])[job])


def comparisons_of(session: Session, jobs: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Comparison]]:
    """The same of several jobs."""
    found: dict[uuid.UUID, list[Comparison]] = {job: [] for job in jobs}
    for row in sql.rows(session, _COMPARISONS, jobs=list(jobs)) if jobs else ():
        said = tuple(preference(groups, row.response) for groups in row.groups)
        made = Comparison(row.update, row.identical, row.score, row.score_before, row.kl, row.waits, said)
        found[row.job].append(made)
    return found


def lines(session: Session, snapshot: uuid.UUID) -> Iterator[str]:
    query = select(SnapshotRow.line).where(SnapshotRow.snapshot_id == snapshot).order_by(SnapshotRow.position)
    yield from session.scalars(query.execution_options(yield_per=500))
