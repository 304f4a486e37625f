"""The states of a job, and the only two places that change them: `move`, and `CLAIM`, which is a statement of its own.

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

from alignment.shared.sentence import Sentence
from annotation_api.db.jobs import events as job_events
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, Failure, JobError, LeaseLost, TransitionRefused, UnknownJob
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import AttemptOutcome, Job, JobAttempt, JobState

WAITING_GPU = "waiting_gpu"  # the reason of a starting job whose GPUs are taken
LIVE = frozenset({JobState.STARTING, JobState.RUNNING, JobState.COMMITTING})  # somebody holds a lease
DEAD = frozenset({JobState.FAILED, JobState.CANCELLED})
ENDED = DEAD | {JobState.SUCCEEDED}
LONGEST_BACKOFF_SECONDS = 300  # after a crash
LONGEST_WAIT_SECONDS = 30  # after an interruption
MAX_INTERRUPTIONS = 100  # in a row without a new checkpoint

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.BLOCKED: frozenset({JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.COMMITTING, JobState.QUEUED, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.COMMITTING: frozenset(
        {JobState.SUCCEEDED, JobState.QUEUED, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.BLOCKED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.BLOCKED, JobState.CANCELLED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.BLOCKED}),
}


# From queued to starting in one statement, because a crowd of dispatchers asks for it all day. Of the jobs that may
# start now: the highest priority, then the person with the fewest jobs at work, then the oldest.
CLAIM = """
WITH at_work AS (SELECT created_by, count(*) AS jobs FROM jobs WHERE lease_until IS NOT NULL GROUP BY created_by),
next AS (
    SELECT j.id, clock_timestamp() AS now
    FROM jobs j LEFT JOIN at_work w ON w.created_by = j.created_by
    WHERE j.state = 'queued' AND (j.not_before IS NULL OR j.not_before <= clock_timestamp())
      AND (%(stages)s::text[] IS NULL OR j.stage = ANY (%(stages)s::text[]))
    ORDER BY j.priority DESC, coalesce(w.jobs, 0), j.created_at, j.id
    LIMIT 1 FOR UPDATE OF j SKIP LOCKED
),
claimed AS (
    UPDATE jobs SET state = 'starting', epoch = epoch + 1, attempts = attempts + 1, claimed_by = %(worker)s,
        lease_until = next.now + %(lease)s, not_before = NULL, error = NULL
    FROM next WHERE jobs.id = next.id RETURNING jobs.id, jobs.epoch, next.now
),
attempt AS (
    INSERT INTO job_attempts (job_id, epoch, worker, claimed_at) SELECT id, epoch, %(worker)s, now FROM claimed
),
event AS (
    INSERT INTO job_events (job_id, seq, epoch, type, data)
    SELECT id, 1 + (SELECT coalesce(max(seq), 0) FROM job_events e WHERE e.job_id = claimed.id), epoch, 'state',
        jsonb_build_object('state', 'starting', 'from', 'queued', 'attempt', epoch, 'worker', %(worker)s::text)
    FROM claimed
)
SELECT id FROM claimed
"""


def move(session: Session, job: Job, to: JobState, *, lost: bool = False, **data: Any) -> None:
    """Change the state; the caller holds the row's lock. `lost`: the lease ran out."""
    before = job.state
    if to not in TRANSITIONS[before]:
        raise TransitionRefused(
            Sentence(
                "no-such-transition",
                "job %(job)s is %(before)s; it cannot become %(to)s",
                job=job.id,
                before=before.value,
                to=to.value,
            )
        )
    end_wait(session, job)
    if before in LIVE and to not in LIVE:
        _end_attempt(session, job, AttemptOutcome.LOST if lost else AttemptOutcome(to.value), data.get("error"))
    finished = now(session) if to in ENDED else None
    job.state, job.finished_at = to, finished  # and the lease in the same flush: the table's check wants both
    if to not in LIVE:
        job.lease_until = job.claimed_by = None
        job.pause_requested = False
    job_events.append(session, job.id, job.epoch, [Event("state", {"state": to.value, "from": before.value} | data)])


def end_wait(session: Session, job: Job) -> None:
    """The reason for which a job had not begun is over; what it waited for a GPU counts on its attempt."""
    if job.reason == WAITING_GPU and job.reason_since is not None:
        attempt = session.get_one(JobAttempt, (job.id, job.epoch))
        attempt.waited_seconds += (now(session) - job.reason_since).total_seconds()
    job.reason = job.reason_detail = job.reason_since = None


def _end_attempt(session: Session, job: Job, outcome: AttemptOutcome, error: dict[str, Any] | None) -> None:
    attempt = session.get_one(JobAttempt, (job.id, job.epoch))
    attempt.ended_at, attempt.outcome, attempt.error = now(session), outcome, error


def give_back(session: Session, job: Job, failure: Failure, again: Again, *, lost: bool = False) -> None:
    """Queue the job for another attempt, if it may have one."""
    if again is Again.INTERRUPTED:
        job.attempts, job.interruptions = job.attempts - 1, job.interruptions + 1
    if job.cancel_requested:
        stopped = Failure(ErrorKind.CANCELLED, Sentence("stopped-on-request", "Stopped on request."))
        end_badly(session, job, JobState.CANCELLED, stopped, lost=lost)
    elif job.attempts >= job.max_attempts or job.interruptions > MAX_INTERRUPTIONS:
        end_badly(session, job, JobState.FAILED, _exhausted(job, failure), lost=lost)
    else:
        job.error = failure.as_json()
        if job.pause_requested:
            move(session, job, JobState.PAUSED, lost=lost, error=job.error)
            return
        seconds = _pause_seconds(job, again)
        job.not_before = now(session) + timedelta(seconds=seconds)
        move(session, job, JobState.QUEUED, lost=lost, error=job.error, wait_seconds=seconds)


def _pause_seconds(job: Job, again: Again) -> int:
    """How long a job rests before it is tried again: longer each time."""
    if again is Again.INTERRUPTED:
        return int(min(2**job.interruptions, LONGEST_WAIT_SECONDS))
    return int(min(2**job.attempts, LONGEST_BACKOFF_SECONDS))


def _exhausted(job: Job, failure: Failure) -> Failure:
    """The end of a job that never gets further: others go on, this one waits for a person."""
    if job.interruptions > MAX_INTERRUPTIONS:
        cause = Sentence(
            "interruption-in-a-row",
            "%(cause)s That was interruption %(interruptions)s in a row.",
            cause=failure.cause,
            interruptions=job.interruptions,
        )
        return replace(failure, cause=cause)
    cause = Sentence(
        "last-attempt",
        "%(cause)s That was the last of %(max_attempts)s attempts in a row that got no further.",
        cause=failure.cause,
        max_attempts=job.max_attempts,
    )
    then = Sentence("retry-the-job", "Then retry the job.")
    step = Sentence("then", "%(first)s %(then)s", first=failure.next_step, then=then) if failure.next_step else then
    return replace(failure, kind=ErrorKind.QUARANTINED, cause=cause, next_step=step)


def end_badly(session: Session, job: Job, to: JobState, failure: Failure, *, lost: bool = False) -> None:
    """End the job, and with it every job that waits for it."""
    job.error = failure.as_json()
    move(session, job, to, lost=lost, error=job.error)
    session.flush()
    cause = Sentence(
        "needed-job-ended",
        "It needs %(stage)s job %(job)s, which %(to)s.",
        stage=job.stage.value,
        job=job.id,
        to="failed" if to is JobState.FAILED else "was cancelled",
    )
    follows = Failure(
        ErrorKind.CANCELLED, cause, Sentence("retry-needed-job", "Retry that job; this one then waits for it again.")
    )
    for dependant in job_graph.lock_dependants(session, job.id):
        if dependant.state in (JobState.BLOCKED, JobState.PAUSED):
            dependant.error = follows.as_json() | {"because": str(job.id)}
            move(session, dependant, JobState.CANCELLED, error=dependant.error)


def revive(session: Session, job: Job, needs: Sequence[Job]) -> None:
    """Queue it anew with all its attempts; its checkpoints are still there."""
    job.attempts, job.interruptions, job.cancel_requested = 0, 0, False
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
            raise JobError(
                Sentence(
                    "needed-job-first",
                    "needs %(stage)s job %(need)s, which is %(state)s: retry that one first",
                    stage=need.stage.value,
                    need=need.id,
                    state=need.state.value,
                )
            )


def fenced(session: Session, job_id: uuid.UUID, epoch: int) -> Job:
    """The job, locked, if `epoch` is the attempt that holds it."""
    query = select(Job).where(Job.id == job_id, Job.epoch == epoch, Job.state.in_(LIVE)).with_for_update()
    job = session.scalar(query, execution_options=job_graph.FRESH)
    if job is None:
        raise LeaseLost(
            Sentence("attempt-lost-job", "attempt %(epoch)s no longer holds job %(job_id)s", epoch=epoch, job_id=job_id)
        )
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
