"""The states of a job, and the one function that changes them.

Callers hold the row's lock; locks are always taken from a job towards those that need it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.events import ErrorKind
from annotation_api.db import job_events, job_graph
from annotation_api.db.job_events import Event
from annotation_api.db.job_records import Failure, JobError, LeaseLost, TransitionRefused, UnknownJob
from annotation_api.db.tables import Job, JobState

LIVE = frozenset({JobState.STARTING, JobState.RUNNING, JobState.COMMITTING})  # somebody holds a lease
DEAD = frozenset({JobState.FAILED, JobState.CANCELLED})
ENDED = DEAD | {JobState.SUCCEEDED}
LONGEST_BACKOFF_SECONDS = 300

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.BLOCKED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.CANCELLED}),
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMMITTING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMMITTING: frozenset({JobState.SUCCEEDED, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.BLOCKED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.BLOCKED}),
}


def move(session: Session, job: Job, to: JobState, **data: Any) -> None:
    """The only place where a state changes; the caller holds the row's lock."""
    before = job.state
    if to not in TRANSITIONS[before]:
        raise TransitionRefused(f"job {job.id} is {before.value}; it cannot become {to.value}")
    job.state, job.reason = to, None
    if to not in LIVE:
        job.lease_until = job.claimed_by = None
    job.finished_at = now(session) if to in ENDED else None
    job_events.append(session, job.id, job.epoch, [Event("state", {"state": to.value, "from": before.value} | data)])


def give_back(session: Session, job: Job, failure: Failure, *, wait: bool) -> None:
    """Queue the job for another attempt, if it may have one."""
    if job.cancel_requested:
        end_badly(session, job, JobState.CANCELLED, Failure(ErrorKind.CANCELLED, "Stopped on request."))
    elif job.attempts >= job.max_attempts:
        cause = f"{failure.cause} That was the last of {job.max_attempts} attempts."
        end_badly(session, job, JobState.FAILED, replace(failure, cause=cause))
    else:
        seconds = min(2**job.attempts, LONGEST_BACKOFF_SECONDS) if wait else 0
        job.error = failure.as_json()
        job.not_before = now(session) + timedelta(seconds=seconds)
        move(session, job, JobState.QUEUED, error=job.error, wait_seconds=seconds)


def end_badly(session: Session, job: Job, to: JobState, failure: Failure) -> None:
    """End the job, and with it every job that waits for it."""
    job.error = failure.as_json()
    move(session, job, to, error=job.error)
    session.flush()
    cause = f"It needs {job.stage.value} job {job.id}, which {'failed' if to is JobState.FAILED else 'was cancelled'}."
    follows = Failure(ErrorKind.CANCELLED, cause, "Retry that job; this one then waits for it again.")
    for dependant in job_graph.lock_dependants(session, job.id):
        if dependant.state is JobState.BLOCKED:
            dependant.error = follows.as_json() | {"because": str(job.id)}
            move(session, dependant, JobState.CANCELLED, error=dependant.error)


def revive(session: Session, job: Job, needs: Sequence[Job]) -> None:
    job.attempts, job.cancel_requested = 0, False
    job.error = job.result = job.progress = job.not_before = None
    move(session, job, first_state(needs))
    session.flush()


def unblock_dependants(session: Session, job: Job) -> None:
    for dependant in job_graph.lock_dependants(session, job.id):
        ready = first_state(job_graph.needs(session, dependant.id)) is JobState.QUEUED
        if dependant.state is JobState.BLOCKED and ready:
            move(session, dependant, JobState.QUEUED)


def first_state(needs: Sequence[Job]) -> JobState:
    return JobState.QUEUED if all(n.state is JobState.SUCCEEDED for n in needs) else JobState.BLOCKED


def refuse_dead(needs: Sequence[Job]) -> None:
    for need in needs:
        if need.state in DEAD:
            raise JobError(f"needs {need.stage.value} job {need.id}, which is {need.state.value}: retry that one first")


def fenced(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The job, locked, if `epoch` is the attempt that holds it."""
    query = select(Job).where(Job.id == job_id, Job.epoch == epoch, Job.state.in_(LIVE)).with_for_update()
    job = session.scalar(query, execution_options=job_graph.FRESH)
    if job is None:
        raise LeaseLost(f"attempt {epoch} no longer holds job {job_id}")
    return job


def locked(session: Session, job_id: uuid.UUID) -> Job:
    job = session.scalar(select(Job).where(Job.id == job_id).with_for_update(), execution_options=job_graph.FRESH)
    if job is None:
        raise UnknownJob(f"there is no job {job_id}")
    return job


def now(session: Session) -> datetime:
    """The database's clock, also within a transaction that waited for a lock."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
