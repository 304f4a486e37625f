"""What people ask of jobs: make one, stop it, pause it, let it go on, try it again.

Every verb may be repeated: the second time changes nothing. Commits are the caller's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.sentence import Sentence, in_turn
from annotation_api.db.jobs import events as job_events
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import machine
from annotation_api.db.jobs.differences import Difference, differences
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.machine import DEAD, ENDED, LIVE
from annotation_api.db.jobs.records import Failure, TransitionRefused, UnknownJob
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, JobState

KEEP_CHECKPOINTS = ("save_every", "save_minutes", "GPUs", "priority")  # what changes no weight

_COLUMNS = Job.__table__.columns
# `clock_timestamp`, because jobs of one transaction keep their order. With the columns named, SQLAlchemy does not find
# out anew each time which is which.
CREATE = f"""
WITH job AS (
    INSERT INTO jobs
        (id, stage, state, inputs, config, preset, gpus, allow_cpu, priority, max_attempts, pipeline_id, name, notes,
        tags, created_by, created_at)
    VALUES (:id, :stage, :state, :inputs, :config, :preset, :gpus, :allow_cpu, :priority, :max_attempts, :pipeline_id,
        :name, :notes, :tags, :created_by, clock_timestamp())
    RETURNING *
),
needed AS (INSERT INTO job_dependencies (job_id, needs_id) SELECT id, unnest(CAST(:needs AS uuid[])) FROM job),
event AS (
    INSERT INTO job_events (job_id, seq, epoch, type, data)
    SELECT id, 1, 0, 'state', jsonb_build_object('state', state) FROM job
)
SELECT {", ".join(column.name for column in _COLUMNS)} FROM job
"""
_JSON = (bindparam(name, type_=JSONB) for name in ("inputs", "config", "tags"))
_CREATE = select(Job).from_statement(text(CREATE).bindparams(*_JSON).columns(*_COLUMNS))


def create_job(
    session: Session,
    stage: Stage,
    inputs: dict[str, Any],
    config: dict[str, Any],
    created_by: uuid.UUID,
    *,
    needs: Iterable[uuid.UUID] = (),
    gpus: float = 1.0,
    allow_cpu: bool = False,
    priority: int = 0,
    max_attempts: int = 5,
    pipeline_id: uuid.UUID | None = None,
    preset: str | None = None,
    name: str | None = None,
    notes: str = "",
    tags: Sequence[str] = (),
) -> Job:
    """Add a job: `queued`, or `blocked` while one of `needs` has not succeeded.

    Raises JobError when a needed job is unknown, failed or cancelled.
    """
    wanted = set(needs)
    found = job_graph.hold(session, wanted)
    if missing := wanted - {job.id for job in found}:
        raise UnknownJob(f"needs job {min(missing)}, which does not exist")
    machine.refuse_dead(found)
    values = {
        "id": uuid.uuid4(),
        "stage": stage.value,
        "state": machine.first_state(found).value,
        "inputs": inputs,
        "config": config,
        "gpus": gpus,
        "allow_cpu": allow_cpu,
        "priority": priority,
        "max_attempts": max_attempts,
        "pipeline_id": pipeline_id,
        "preset": preset,
        "name": name,
        "notes": notes,
        "tags": list(tags),
        "created_by": created_by,
        "needs": list(wanted),
    }
    job: Job = session.scalars(_CREATE, values).one()
    return job


def request_cancel(session: Session, job_id: uuid.UUID) -> Job:
    """Cancel at once what has not started; ask a live job to stop; leave an ended one alone.

    A request that comes while the result is being committed is too late, unless that attempt dies.
    """
    job = machine.locked(session, job_id)
    if job.state in LIVE:
        if not job.cancel_requested:
            job.cancel_requested = True
            job_events.append(
                session, job.id, job.epoch, [Event.note(Sentence("cancel-requested", "Cancel requested."))]
            )
    elif job.state not in ENDED:
        why = Failure(ErrorKind.CANCELLED, Sentence("cancelled-before-start", "Cancelled before it started."))
        machine.end_badly(session, job, JobState.CANCELLED, why)
    session.flush()
    return job


def request_pause(session: Session, job_id: uuid.UUID) -> Job:
    """Keep a job that has not started from starting; ask a live one to save a checkpoint and stop.

    A request that comes while the result is being committed, or beside a cancel, is too late. Raises
    TransitionRefused for a job that has ended.
    """
    job = machine.locked(session, job_id)
    if job.state in ENDED:
        raise TransitionRefused(
            Sentence(
                "job-has-ended",
                "job %(job)s has %(state)s already",
                job=job.id,
                state=job.state.value if job.state in DEAD else "succeeded",
            )
        )
    if job.state in (JobState.BLOCKED, JobState.QUEUED):
        machine.move(session, job, JobState.PAUSED)
    elif job.state in (JobState.STARTING, JobState.RUNNING) and not (job.pause_requested or job.cancel_requested):
        job.pause_requested = True
        job_events.append(session, job.id, job.epoch, [Event.note(Sentence("pause-requested", "Pause requested."))])
    session.flush()
    return job


def resume(session: Session, job_id: uuid.UUID) -> Job:
    """Let a paused job go on from its checkpoint; call off a pause that has not happened yet.

    A failed or cancelled job is tried again (`retry`); any other stays as it is. Raises JobError when a job that
    it needs has failed.
    """
    job = machine.locked(session, job_id)
    if job.state in DEAD:
        return retry(session, job_id)
    if job.state in LIVE and job.pause_requested:
        job.pause_requested = False
        job_events.append(
            session, job.id, job.epoch, [Event.note(Sentence("pause-called-off", "The pause was called off."))]
        )
    elif job.state is JobState.PAUSED:
        needs = job_graph.needs(session, job.id)
        machine.refuse_dead(needs)
        job.attempts = job.interruptions = 0
        job.error = job.not_before = None
        machine.move(session, job, machine.first_state(needs))
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
        raise TransitionRefused(
            Sentence("job-succeeded-again", "job %(job)s has succeeded; make a new job to run it once more", job=job.id)
        )
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


def change(session: Session, job_id: uuid.UUID, config: dict[str, Any], gpus: float, priority: int) -> Job:
    """Give a job that is not at work other settings, with which it then starts; what is the same changes nothing.

    Its checkpoints stay on the disk, but a run of other settings does not go on from them. Raises TransitionRefused
    while the job is at work, and when it has succeeded.
    """
    job = machine.locked(session, job_id)
    before = job.config | {"GPUs": job.gpus, "priority": job.priority}
    found = differences(before, config | {"GPUs": gpus, "priority": priority})
    if not found:
        return job
    if job.state is JobState.SUCCEEDED:
        raise TransitionRefused(
            Sentence(
                "job-succeeded-settings",
                "job %(job)s has succeeded; make a new job to run it with other settings",
                job=job.id,
            )
        )
    if job.state in LIVE:
        raise TransitionRefused(
            Sentence(
                "pause-first",
                "job %(job)s is %(state)s; pause it first, then resume it with other settings",
                job=job.id,
                state=job.state.value,
            )
        )
    anew = job.saved_step is not None and any(each.name not in KEEP_CHECKPOINTS for each in found)
    job.config, job.gpus, job.priority = config, gpus, priority
    job.saved_step = None if anew else job.saved_step
    job_events.append(session, job.id, job.epoch, [Event.note(_changed(found, anew))])
    session.flush()
    return job


def _changed(found: list[Difference], anew: bool) -> Sentence:
    said = Sentence("settings-changed", "Settings changed: %(what)s.", what="; ".join(map(str, found)))
    begins = Sentence("begins-anew", "It begins anew: its checkpoints belong to the settings before.")
    return in_turn([said, begins]) if anew else said
