"""What API, dispatcher and launchers do with jobs. `job_machine` has the states and their changes.

A claimed job has a lease and an epoch that rises with each claim. Whoever runs it names that epoch
with every write; when it is no longer the job's epoch, or the job was taken back, the write raises
LeaseLost and changes nothing. Only the database's clock counts. Functions change rows and leave the
commit to the caller, so that a caller can add rows of its own to the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, literal_column, or_, select
from sqlalchemy.orm import Session

from alignment.config import Stage
from alignment.events import ErrorKind
from alignment.records import storable
from annotation_api.db import job_events, job_graph
from annotation_api.db import job_machine as machine
from annotation_api.db.job_events import Event
from annotation_api.db.job_machine import DEAD, ENDED, LIVE
from annotation_api.db.job_records import (
    ArtifactFile,
    CancelRequested,
    Failure,
    NewCheckpoint,
    NewModel,
    TransitionRefused,
    UnknownJob,
)
from annotation_api.db.tables import Artifact, Checkpoint, Job, JobDependency, JobState

_AFTER_CRASH = "Look at the job's log for the reason (often memory), then retry the job."


# ---------------------------------------------------------------- asked for by people


def create_job(
    session: Session,
    stage: Stage,
    inputs: dict[str, Any],
    config: dict[str, Any],
    created_by: uuid.UUID,
    *,
    needs: Iterable[uuid.UUID] = (),
    gpus: float = 1.0,
    priority: int = 0,
    max_attempts: int = 5,
    pipeline_id: uuid.UUID | None = None,
) -> Job:
    """Add a job: `queued`, or `blocked` while one of `needs` has not succeeded.

    Raises JobError when a needed job is unknown, failed or cancelled.
    """
    wanted = set(needs)
    found = job_graph.hold(session, wanted)
    if missing := wanted - {job.id for job in found}:
        raise UnknownJob(f"needs job {min(missing)}, which does not exist")
    machine.refuse_dead(found)
    job = Job(
        stage=stage,
        state=machine.first_state(found),
        inputs=inputs,
        config=config,
        gpus=gpus,
        priority=priority,
        max_attempts=max_attempts,
        pipeline_id=pipeline_id,
        created_by=created_by,
        created_at=func.clock_timestamp(),  # jobs of one transaction keep their order
    )
    session.add(job)
    session.flush()
    session.add_all(JobDependency(job_id=job.id, needs_id=need) for need in wanted)
    job_events.append(session, job.id, 0, [Event("state", {"state": job.state.value})])
    session.flush()
    return job


def request_cancel(session: Session, job_id: uuid.UUID) -> Job:
    """Cancel at once what has not started; ask a live job to stop; leave an ended one alone.

    A request that comes while the result is being committed is too late, unless that attempt dies.
    """
    job = machine.locked(session, job_id)
    if job.state in LIVE:
        if not job.cancel_requested:
            job.cancel_requested = True
            job_events.append(session, job.id, job.epoch, [Event.note("Cancel requested.")])
    elif job.state not in ENDED:
        why = Failure(ErrorKind.CANCELLED, "Cancelled before it started.")
        machine.end_badly(session, job, JobState.CANCELLED, why)
    session.flush()
    return job


def retry(session: Session, job_id: uuid.UUID) -> Job:
    """Queue a failed or cancelled job again with all its attempts, and with it the jobs that were
    cancelled only because of it.

    Asking again changes nothing. Raises TransitionRefused when it has succeeded, JobError when a job
    that it needs has itself failed.
    """
    job = machine.locked(session, job_id)
    if job.state is JobState.SUCCEEDED:
        raise TransitionRefused(f"job {job.id} has succeeded; make a new job to run it once more")
    if job.state not in ENDED:  # asked twice
        return job
    needs = job_graph.needs(session, job.id)
    machine.refuse_dead(needs)
    machine.revive(session, job, needs)
    for dependant in job_graph.lock_dependants(session, job.id):
        needs = job_graph.needs(session, dependant.id)
        follows = (dependant.error or {}).get("because") == str(job.id)
        if dependant.state is JobState.CANCELLED and follows and not any(need.state in DEAD for need in needs):
            machine.revive(session, dependant, needs)
    return job


# ---------------------------------------------------------------- asked for by the dispatcher


def claim(session: Session, worker: str, lease_seconds: float, stages: Collection[Stage] | None = None) -> Job | None:
    """Take the next queued job for `lease_seconds`, or None when there is none that may start now.

    The highest priority first, then the oldest. Concurrent claimers never get the same job.
    """
    clock = func.clock_timestamp()
    due = or_(Job.not_before.is_(None), Job.not_before <= clock)
    queued = Job.state == literal_column("'queued'")  # spelt out, so that every plan may use the partial index
    query = select(Job, clock).where(queued, due)
    if stages is not None:
        query = query.where(Job.stage.in_(stages))
    query = query.order_by(Job.priority.desc(), Job.created_at, Job.id).limit(1)
    row = session.execute(query.with_for_update(of=Job, skip_locked=True), execution_options=job_graph.FRESH).first()
    if row is None:
        return None
    job, now = row
    job.epoch += 1
    job.attempts += 1
    job.claimed_by = worker
    job.lease_until = now + timedelta(seconds=lease_seconds)
    job.not_before = job.error = job.progress = None
    machine.move(session, job, JobState.STARTING, attempt=job.attempts, worker=worker)
    session.flush()
    claimed: Job = job
    return claimed


def requeue_expired(session: Session) -> list[Job]:
    """Take back every job whose lease ran out; a job that has used up its attempts fails."""
    query = select(Job).where(Job.state.in_(LIVE), Job.lease_until < func.clock_timestamp())
    query = query.order_by(Job.created_at, Job.id).with_for_update(skip_locked=True)
    jobs = list(session.scalars(query, execution_options=job_graph.FRESH))
    for job in jobs:
        cause = f"Attempt {job.attempts} on {job.claimed_by} stopped reporting while {job.state.value}."
        machine.give_back(session, job, Failure(ErrorKind.CRASH, cause, _AFTER_CRASH), wait=True)
    session.flush()
    return jobs


# ---------------------------------------------------------------- told by the attempt, fenced


def renew(session: Session, job_id: uuid.UUID, epoch: int, lease_seconds: float, *, worker: str | None = None) -> bool:
    """Extend the lease from now on; return whether somebody asked to cancel.

    `worker` changes who holds it (the launcher, after the dispatcher claimed). Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    job.lease_until = machine.now(session) + timedelta(seconds=lease_seconds)
    job.claimed_by = worker or job.claimed_by
    session.flush()
    return job.cancel_requested


def set_starting_reason(session: Session, job_id: uuid.UUID, epoch: int, reason: str) -> None:
    """Say why a job has not begun: waiting_gpu, infeasible or loading. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    if job.state is not JobState.STARTING:
        raise TransitionRefused(f"job {job.id} is {job.state.value}; only a starting job has a reason")
    if job.reason != reason:
        job.reason = reason
        job_events.append(session, job.id, epoch, [Event("state", {"state": job.state.value, "reason": reason})])
        session.flush()


def mark_running(session: Session, job_id: uuid.UUID, epoch: int) -> None:
    """The stage has begun. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    job.started_at = job.started_at or machine.now(session)
    machine.move(session, job, JobState.RUNNING)
    session.flush()


def append_events(session: Session, job_id: uuid.UUID, epoch: int, events: Sequence[Event]) -> int:
    """Add events in order, with the metrics and the job's `progress` that they carry.

    Returns the number of the last event. Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    last = job_events.append(session, job_id, epoch, events)
    job_events.record_metrics(session, job_id, epoch, events)
    for event in events:
        if event.type == "progress":
            job.progress = storable(event.data)
    session.flush()
    return last


def mark_committing(session: Session, job_id: uuid.UUID, epoch: int) -> None:
    """The result is whole in staging and is about to be published.

    Raises LeaseLost, or CancelRequested when a cancel came before: then call mark_cancelled.
    """
    job = machine.fenced(session, job_id, epoch)
    if job.cancel_requested:
        raise CancelRequested(f"job {job_id} was asked to stop before its result was committed")
    machine.move(session, job, JobState.COMMITTING)
    session.flush()


def commit_success(
    session: Session,
    job_id: uuid.UUID,
    epoch: int,
    *,
    result: Mapping[str, Any],
    artifacts: Sequence[ArtifactFile],
    model: NewModel | None = None,
    checkpoints: Sequence[NewCheckpoint] = (),
) -> Job:
    """Everything that a finished job leaves, in one transaction: its state, files, model version
    with parents, checkpoints and event; jobs that waited for it alone are queued.

    The job's `result` is `result` and, with `model`, the version's id under "model". The artifact's
    folder must be in its final place before. Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    outcome = storable(result)
    if model is not None:
        version = model.version(job.id)
        session.add(version)
        session.flush()
        session.add_all(model.edges(version.id))
        outcome["model"] = str(version.id)
    session.add_all(Artifact(job_id=job.id, name=f.name, sha256=f.sha256, size=f.size) for f in artifacts)
    session.add_all(
        Checkpoint(job_id=job.id, epoch=epoch, step=c.step, metrics=storable(c.metrics), chosen=c.chosen)
        for c in checkpoints
    )
    job.result = outcome
    machine.move(session, job, JobState.SUCCEEDED)
    session.flush()
    machine.unblock_dependants(session, job)
    session.flush()
    return job


def is_committed(session: Session, job_id: uuid.UUID, epoch: int) -> bool:
    """Whether this very attempt succeeded: the question after a commit whose answer got lost."""
    found = select(Job.id).where(Job.id == job_id, Job.epoch == epoch, Job.state == JobState.SUCCEEDED)
    return session.scalar(found) is not None


def fail(session: Session, job_id: uuid.UUID, epoch: int, error: Failure, *, retry: bool) -> Job:
    """The attempt failed: queue the job again after a pause when `retry` and attempts are left,
    otherwise end it and cancel the jobs that need it. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    if retry:
        machine.give_back(session, job, error, wait=True)
    else:
        machine.end_badly(session, job, JobState.FAILED, error)
    session.flush()
    return job


def mark_cancelled(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The attempt stopped on request. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    machine.end_badly(session, job, JobState.CANCELLED, Failure(ErrorKind.CANCELLED, "Stopped on request."))
    session.flush()
    return job


def release(session: Session, job_id: uuid.UUID, epoch: int, *, planned: bool = False) -> Job:
    """The launcher ends before its job: queue it at once. `planned` (the service shuts down) does
    not use up an attempt. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    cause = f"Attempt {job.attempts} on {job.claimed_by} ended while {job.state.value}."
    job.attempts -= planned
    machine.give_back(session, job, Failure(ErrorKind.CRASH, cause, _AFTER_CRASH), wait=False)
    session.flush()
    return job
