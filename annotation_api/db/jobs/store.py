"""What dispatchers and launchers do with jobs; `db.jobs.requests` has what people ask, `db.jobs.machine` the states.

A claimed job has a lease and an epoch that rises with each claim. Whoever runs it names that epoch
with every write; when it is no longer the job's epoch, or the job was taken back, the write raises
LeaseLost and changes nothing. Only the database's clock counts. Functions change rows and leave the
commit to the caller, so that a caller can add rows of its own to the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint
from alignment.shared.records import storable
from alignment.shared.sentence import Sentence, packed, parts
from annotation_api.db.jobs import events as job_events
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import machine
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.jobs.records import (
    Again,
    ArtifactFile,
    CancelRequested,
    Failure,
    ModelToRegister,
    NewEvaluatedPolicy,
    TransitionRefused,
    Wish,
)
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.sql import one_row
from annotation_api.db.tables import Artifact, CheckpointRow, EvaluatedPolicy, Job, JobAttempt, JobState

_AFTER_CRASH = Sentence("look-at-log-memory", "Look at the end of the job's log for the reason (often memory).")


# ---------------------------------------------------------------- asked for by the dispatcher


def claim(session: Session, worker: str, lease_seconds: float, stages: Collection[Stage] | None = None) -> Job | None:
    """Take the next queued job for `lease_seconds`, or None when there is none that may start now.

    The highest priority first, then the person with the fewest jobs at work, then the oldest. Concurrent
    claimers never get the same job.
    """
    wanted = None if stages is None else [stage.value for stage in stages]
    claimed = one_row(session, machine.CLAIM, worker=worker, lease=timedelta(seconds=lease_seconds), stages=wanted)
    return session.get_one(Job, claimed.id, populate_existing=True) if claimed else None


def requeue_expired(session: Session) -> list[Job]:
    """Take back every job whose lease ran out; a job that has used up its attempts fails."""
    query = select(Job).where(Job.state.in_(LIVE), Job.lease_until < func.clock_timestamp())
    query = query.order_by(Job.created_at, Job.id).with_for_update(skip_locked=True)
    jobs = list(session.scalars(query, execution_options=job_graph.FRESH))
    for job in jobs:
        cause = Sentence(
            "stopped-reporting",
            "Attempt %(epoch)s on %(claimed_by)s stopped reporting while %(state)s.",
            epoch=job.epoch,
            claimed_by=job.claimed_by,
            state=job.state.value,
        )
        failure = Failure(ErrorKind.CRASH, cause, _AFTER_CRASH)
        machine.give_back(session, job, failure, Again.CRASH, lost=True)
    session.flush()
    return jobs


# ---------------------------------------------------------------- told by the attempt, fenced


def renew(
    session: Session, job_id: uuid.UUID, epoch: int, lease_seconds: float, *, worker: str | None = None
) -> Wish | None:
    """Extend the lease from now on; return what somebody asked of the job.

    `worker` changes who holds it (the launcher, after the dispatcher claimed). Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    job.lease_until = machine.now(session) + timedelta(seconds=lease_seconds)
    if worker is not None and worker != job.claimed_by:
        job.claimed_by = session.get_one(JobAttempt, (job_id, epoch)).worker = worker
    session.flush()
    if job.cancel_requested:
        return Wish.CANCEL
    return Wish.PAUSE if job.pause_requested else None


def set_starting_reason(session: Session, job_id: uuid.UUID, epoch: int, reason: str, detail: str = "") -> None:
    """Say why a job has not begun (waiting_gpu, infeasible or loading) and what exactly it waits for.

    `reason_since` stays while the reason does. Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    if job.state is not JobState.STARTING:
        raise TransitionRefused(
            Sentence(
                "no-reason-now",
                "job %(job)s is %(state)s; only a starting job has a reason",
                job=job.id,
                state=job.state.value,
            )
        )
    kept = packed(detail) or None
    if (job.reason, job.reason_detail) == (reason, kept):
        return
    if job.reason != reason:
        machine.end_wait(session, job)
        job.reason, job.reason_since = reason, machine.now(session)
    job.reason_detail = kept
    told = {"state": job.state.value, "reason": reason}
    told |= {"detail": str(detail), "said": parts(detail)} if detail else {}
    job_events.append(session, job.id, epoch, [Event("state", told)])
    session.flush()


def mark_running(session: Session, job_id: uuid.UUID, epoch: int) -> None:
    """The stage has begun. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    now = machine.now(session)
    job.started_at = job.started_at or now
    session.get_one(JobAttempt, (job_id, epoch)).started_at = now
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


def record_checkpoint(session: Session, job_id: uuid.UUID, epoch: int, saved: SavedCheckpoint) -> None:
    """A checkpoint is whole on disk. One that goes further than all before it gives the job its attempts back.

    Telling it twice changes nothing. Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    if session.get(CheckpointRow, (job_id, saved.name)) is not None:
        return
    session.add(CheckpointRow(job_id=job_id, epoch=epoch, **asdict(saved)))
    if job.saved_step is None or saved.step > job.saved_step:
        job.saved_step = saved.step
        job.attempts, job.interruptions = 1, 0  # this one
    job_events.append(session, job_id, epoch, [Event("checkpoint", asdict(saved))])
    session.flush()


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
    model: ModelToRegister | None = None,
    checkpoints: Sequence[NewEvaluatedPolicy] = (),
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
        EvaluatedPolicy(job_id=job.id, epoch=epoch, step=c.step, metrics=storable(c.metrics), chosen=c.chosen)
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


def fail(session: Session, job_id: uuid.UUID, epoch: int, error: Failure, again: Again) -> Job:
    """The attempt failed: queue the job again after a pause if it may be tried again and its budget allows,
    otherwise end it and cancel the jobs that need it. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    if again is Again.NEVER:
        machine.end_badly(session, job, JobState.FAILED, error)
    else:
        machine.give_back(session, job, error, again)
    session.flush()
    return job


def mark_cancelled(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The attempt stopped on request. Raises LeaseLost."""
    job = machine.fenced(session, job_id, epoch)
    machine.end_badly(
        session,
        job,
        JobState.CANCELLED,
        Failure(ErrorKind.CANCELLED, Sentence("stopped-on-request", "Stopped on request.")),
    )
    session.flush()
    return job


def mark_paused(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The attempt saved what it had and stopped on request; it uses up no attempt.

    A job that was told to go on in the meantime is queued at once, one that was cancelled ends. Raises LeaseLost.
    """
    job = machine.fenced(session, job_id, epoch)
    if job.cancel_requested:
        return mark_cancelled(session, job_id, epoch)
    job.attempts -= 1
    machine.move(session, job, JobState.PAUSED if job.pause_requested else JobState.QUEUED)
    session.flush()
    return job


def release(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The launcher ends because the service stops: the job is queued at once and uses up no attempt.

    One that somebody asked to cancel or to pause gets what was asked. Raises LeaseLost.
    """
    return mark_paused(session, job_id, epoch)
