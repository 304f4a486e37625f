"""Creating, cancelling and retrying jobs and pipelines. States change only in db/job_store.py."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from alignment.config import Stage
from alignment.problems import Problem
from annotation_api.db import job_requests
from annotation_api.db.job_records import JobError
from annotation_api.db.tables import Job, JobState, Person, Pipeline
from annotation_api.errors import ApiError, from_validation, invalid, not_found
from annotation_api.jobs import queries
from annotation_api.jobs.door import COMPARISONS, DEMONSTRATIONS, PROMPTS, WRITERS, Door, Prepared
from annotation_api.jobs.estimates import estimate
from annotation_api.jobs.schemas import JOBS, JobOut, NewJob, NewPipeline, PipelineOut, StageJob, Validation

MAX_WAITING = 500  # jobs that are queued or blocked
RETRY_SECONDS = 60

# Where a stage's problems stand in the body of a pipeline.
PIPELINE_PLACES: dict[Stage, dict[str, str]] = {
    Stage.SFT: {"/config": "/config/sft", "/inputs": ""},
    Stage.REWARD: {"/config": "/config/reward", "/inputs/rankings": "/preferences"},
    Stage.PPO: {"/config": "/config/ppo"},
}


def typed(body: NewJob) -> StageJob:
    """The body as its stage's own class; 422 with pointers where it does not fit."""
    model = JOBS[body.stage]
    try:
        return model.model_validate(body.model_dump())
    except ValidationError as error:
        raise from_validation(error, model) from None


def create(session: Session, me: Person, body: NewJob) -> Job:
    """Check and queue a job; raises 422 with every problem, 429 when the queue is full."""
    job = typed(body)
    prepared = _checked(session, me, job)
    _room(session, 1)
    return _store(session, me, job, prepared, None)


def validate(session: Session, me: Person, body: NewJob) -> Validation:
    """What `create` would say, and what the job would take. Whatever was frozen on the way is undone."""
    with session.begin_nested() as attempt:
        door, prepared = Door(session, me), None
        try:
            prepared = door.check(typed(body))
        except ApiError as error:
            door.problems.extend(error.problems)
        found = estimate(prepared, body.gpus) if prepared else None
        attempt.rollback()
    return Validation(ok=not door.problems, problems=[p.model_dump() for p in door.problems], estimate=found)


def _checked(session: Session, me: Person, job: StageJob, places: dict[str, str] | None = None) -> Prepared:
    door = Door(session, me, places)
    prepared = door.check(job)
    if prepared is None:
        raise invalid(door.problems)
    return prepared


def _store(session: Session, me: Person, job: StageJob, prepared: Prepared, pipeline: uuid.UUID | None) -> Job:
    try:
        return job_requests.create_job(
            session,
            job.stage,
            prepared.inputs,
            prepared.config.model_dump(mode="json"),
            me.id,
            needs=prepared.needs,
            gpus=job.gpus,
            priority=job.priority,
            pipeline_id=pipeline,
        )
    except JobError as error:  # a needed job failed since the door looked
        raise invalid([Problem(pointer="/inputs", message=str(error))]) from None


def _room(session: Session, wanted: int) -> None:
    waiting = queries.waiting_jobs(session)
    if waiting + wanted > MAX_WAITING:
        detail = f"The queue is full: {waiting} jobs wait, the limit is {MAX_WAITING}. Cancel some, or try later."
        raise ApiError(429, "queue-full", detail, headers={"Retry-After": str(RETRY_SECONDS)})


# ---------------------------------------------------------------- pipelines


def create_pipeline(session: Session, me: Person, body: NewPipeline) -> Pipeline:
    """Queue SFT, reward model and PPO, joined by what each makes. All three or none."""
    model, data = _pipeline_inputs(session, me, body)
    _room(session, 3)
    row = Pipeline(spec=body.model_dump(mode="json", exclude_none=True), created_by=me.id)
    session.add(row)
    session.flush()

    def queue(stage: Stage, **inputs: Any) -> dict[str, str]:
        shared = {"preset": body.preset, "gpus": body.gpus, "priority": body.priority}
        values = {"stage": stage, "inputs": inputs, "config": body.config.get(stage, {}), **shared}
        job = JOBS[stage].model_validate(values)
        prepared = _checked(session, me, job, PIPELINE_PLACES[stage])
        return {"job": str(_store(session, me, job, prepared, row.id).id)}

    sft = queue(Stage.SFT, model=model, demonstrations=data["demonstrations"])
    reward = queue(Stage.REWARD, model=sft, rankings=data["preferences"])
    queue(Stage.PPO, model=sft, reward_model=reward, prompts=data["prompts"])
    return row


def _pipeline_inputs(
    session: Session, me: Person, body: NewPipeline
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The model and the frozen data; 422 with what is wrong in them and in the settings of all stages."""
    problems = _config_problems(session, me, body)
    door = Door(session, me)
    model = door.model(body.model, "/model", WRITERS)
    asked = {
        "demonstrations": (body.demonstrations, "/demonstrations", DEMONSTRATIONS),
        "preferences": (body.preferences, "/preferences", COMPARISONS),
        "prompts": (body.prompts or body.preferences, "/prompts" if body.prompts else "/preferences", PROMPTS),
    }
    data = {name: door.data(*question) for name, question in asked.items()}
    problems += [found for found in door.problems if found not in problems]
    if problems:
        raise invalid(problems)
    return model, data


def _config_problems(session: Session, me: Person, body: NewPipeline) -> list[Problem]:
    problems: list[Problem] = []
    for stage, places in PIPELINE_PLACES.items():
        door = Door(session, me, places)
        door.config(stage, body.preset, body.config.get(stage, {}))
        problems += [found for found in door.problems if found not in problems]
    for stage in body.config.keys() - PIPELINE_PLACES.keys():
        problems.append(
            Problem(pointer=f"/config/{stage.value}", message="A pipeline has the stages sft, reward and ppo.")
        )
    return problems


def show_pipeline(session: Session, row: Pipeline) -> PipelineOut:
    jobs = show(session, list(queries.pipeline_jobs(session, row.id)))
    return PipelineOut(id=row.id, state=_state_of([job.state for job in jobs]), jobs=jobs, created_at=row.created_at)


def _state_of(states: list[JobState]) -> JobState:
    """One word for the whole: failed or cancelled if a stage is, otherwise that of the first unfinished stage."""
    for word in (JobState.FAILED, JobState.CANCELLED):
        if word in states:
            return word
    return next((state for state in states if state is not JobState.SUCCEEDED), JobState.SUCCEEDED)


def get_pipeline(session: Session, key: uuid.UUID) -> Pipeline:
    found = session.get(Pipeline, key)
    if found is None:
        raise not_found("pipeline", key)
    return found


# ---------------------------------------------------------------- one job


def get(session: Session, key: uuid.UUID) -> Job:
    found = session.get(Job, key)
    if found is None:
        raise not_found("job", key)
    return found


def show(session: Session, jobs: list[Job]) -> list[JobOut]:
    needs = queries.needs(session, [job.id for job in jobs])
    return [JobOut.of(job, needs[job.id]) for job in jobs]


def cancel(session: Session, key: uuid.UUID) -> Job:
    """Stop a job; one that has ended stays as it is."""
    get(session, key)
    return job_requests.request_cancel(session, key)


def retry(session: Session, key: uuid.UUID) -> Job:
    """Queue a failed or cancelled job again; one that waits or runs already stays as it is."""
    if get(session, key).state not in (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED):
        return get(session, key)
    try:
        return job_requests.retry(session, key)
    except JobError as error:
        raise ApiError(409, "not-retried", f"The job cannot be retried: {error}.") from None
