"""Creating jobs, and what people ask of them. States change only in db/jobs/requests.py."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from alignment.shared.gpus import NOTHING_SHARED
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs.machine import LIVE
from annotation_api.db.jobs.records import JobError, TransitionRefused
from annotation_api.db.kinds import DEFAULTS
from annotation_api.db.tables import Job, JobState, Person
from annotation_api.http.errors import ApiError, invalid, not_found, valid
from annotation_api.jobs import queries
from annotation_api.jobs.queries import WAITING
from annotation_api.jobs.schemas import JOBS, Estimate, JobOut, NewJob, StageJob, Validation
from annotation_api.jobs.validation import tool_rows
from annotation_api.jobs.validation.estimates import estimate
from annotation_api.jobs.validation.validator import JobValidator, ValidatedJob

MAX_WAITING = 500  # jobs that are queued or blocked
RETRY_SECONDS = 60


def typed(body: NewJob) -> StageJob:
    """The body as its stage's own class; 422 with pointers where it does not fit."""
    return valid(JOBS[body.stage], body.model_dump(exclude_unset=True))


def create(session: Session, me: Person, body: NewJob) -> JobOut:
    """Check and queue a job; raises 422 with every problem, 429 when the queue is full."""
    job = typed(body)
    prepared = checked(session, me, job)
    room(session, 1)
    return JobOut.of(store(session, me, job, prepared, None), sorted(prepared.needs))


def validate(session: Session, me: Person, body: NewJob) -> Validation:
    """What `create` would say, and what the job would take. Whatever was frozen on the way is undone."""
    with session.begin_nested() as attempt:
        validator, prepared = JobValidator(session, me), None
        try:
            job = typed(body)
            prepared = validator.check(job)
        except ApiError as error:
            validator.problems.extend(error.problems)
        found = estimated(session, prepared, job.gpus) if prepared else None
        attempt.rollback()
    return Validation(ok=not validator.problems, problems=validator.problems, estimate=found)


def estimated(session: Session, prepared: ValidatedJob, gpus: float) -> Estimate:
    """What a job that may be created would take, with what to know of its data."""
    unshared = [NOTHING_SHARED] if gpus <= 1 and getattr(prepared.config, "shard_weights", False) else []
    return estimate(prepared, gpus).model_copy(update={"notes": unshared + tool_rows.notes(session, prepared)})


def checked(session: Session, me: Person, job: StageJob, places: dict[str, str] | None = None) -> ValidatedJob:
    validator = JobValidator(session, me, places)
    prepared = validator.check(job)
    if prepared is None:
        raise invalid(validator.problems)
    return prepared


def store(session: Session, me: Person, job: StageJob, prepared: ValidatedJob, pipeline: uuid.UUID | None) -> Job:
    try:
        return job_requests.create_job(
            session,
            job.stage,
            prepared.inputs,
            prepared.config.model_dump(mode="json"),
            me.id,
            needs=prepared.needs,
            gpus=job.gpus,
            allow_cpu=job.allow_cpu,
            priority=job.priority,
            pipeline_id=pipeline,
            preset=job.preset or DEFAULTS,
            name=job.name,
            notes=job.notes,
            tags=job.tags,
        )
    except JobError as error:  # a needed job failed since the door looked
        raise invalid([Problem(pointer="/inputs", message=str(error))]) from None


def room(session: Session, wanted: int) -> None:
    """429 when the queue is full. Requests at the same time may pass the limit by as many: none waits for another."""
    if queries.waiting_jobs(session, MAX_WAITING) + wanted > MAX_WAITING:
        detail = Sentence(
            "queue-full", "The queue is full: %(n)s jobs may wait. Cancel some, or try later.", n=MAX_WAITING
        )
        raise ApiError(429, "queue-full", detail, headers={"Retry-After": str(RETRY_SECONDS)})


# ---------------------------------------------------------------- one job


def get(session: Session, key: uuid.UUID) -> Job:
    found = session.get(Job, key)
    if found is None:
        raise not_found("job", key)
    return found


def show(session: Session, jobs: Sequence[Job], *, brief: bool = False) -> list[JobOut]:
    needs = queries.needs(session, [job.id for job in jobs])
    return [JobOut.of(job, [one.id for one in needs[job.id]], brief=brief) for job in jobs]


def cancel(session: Session, key: uuid.UUID) -> Job:
    """Stop a job; one that has failed or was cancelled stays as it is. 409 for one that has succeeded."""
    get(session, key)
    job = job_requests.request_cancel(session, key)
    if job.state is JobState.SUCCEEDED:
        raise ApiError(
            409, "not-cancelled", Sentence("nothing-to-cancel", "The job has succeeded; what it made stays.")
        )
    return job


def pause(session: Session, key: uuid.UUID) -> Job:
    """Let a job save what it has and give its GPUs back; one that is paused stays as it is. 409 when it is too late."""
    get(session, key)
    try:
        job = job_requests.request_pause(session, key)
    except TransitionRefused as error:
        raise ApiError(
            409, "not-paused", Sentence("cannot-be-paused", "The job cannot be paused: %(error)s.", error=error)
        ) from None
    if job.state in LIVE and not job.pause_requested:
        doing = "being cancelled" if job.cancel_requested else "writing its result"
        raise ApiError(
            409,
            "not-paused",
            Sentence("cannot-be-paused-now", "The job cannot be paused any more: it is %(doing)s.", doing=doing),
        )
    return job


def is_settled(job: Job) -> bool:
    """Whether what was asked of it has happened; else the answer is 202."""
    wanted = job.cancel_requested or job.pause_requested
    return job.state not in WAITING and not (job.state in LIVE and wanted)
