"""SFT, reward model and PPO in turn: made together, and stopped and taken up again together."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.config import PPOConfig, Stage
from alignment.shared.records import Demonstration, Prompt, Ranking, Record
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.jobs.machine import ENDED
from annotation_api.db.tables import Job, JobState, Person, Pipeline
from annotation_api.http.errors import ApiError, invalid, not_found
from annotation_api.jobs import again, queries, service
from annotation_api.jobs.pipelines.schemas import NewPipeline, PipelineOut, ResumedPipeline
from annotation_api.jobs.schemas import JOBS, ChangedSettings, DataRef, JobOut
from annotation_api.jobs.validation.validator import WRITERS, JobValidator, ValidatedJob

# Where a stage's problems stand in the body of a pipeline.
PIPELINE_PLACES: dict[Stage, dict[str, str]] = {
    Stage.SFT: {"/config": "/config/sft", "/inputs": ""},
    Stage.REWARD: {"/config": "/config/reward", "/inputs/rankings": "/preferences"},
    Stage.PPO: {"/config": "/config/ppo", "/inputs/pretraining": "/pretraining", "/inputs/project": "/project"},
}


MOST_NAME = 200  # letters
Queued = dict[Stage, tuple[ValidatedJob, float]]  # each stage with its GPUs


def create(session: Session, me: Person, body: NewPipeline) -> Pipeline:
    """Queue SFT, reward model and PPO, joined by what each makes. All three or none."""
    return queue_stages(session, me, body)[0]


def queue_stages(session: Session, me: Person, body: NewPipeline) -> tuple[Pipeline, Queued]:
    """As `create`, with what the door found out of each stage."""
    model, data, beside = _inputs(session, me, body)
    service.room(session, 3)
    spec = body.model_dump(mode="json", exclude_none=True)
    row = Pipeline(spec=spec, created_by=me.id, created_at=func.clock_timestamp())  # as its jobs
    session.add(row)
    session.flush()

    queued: Queued = {}

    def queue(stage: Stage, **inputs: Any) -> dict[str, str]:
        shared = {
            "preset": body.preset,
            "gpus": body.gpus,
            "allow_cpu": body.allow_cpu,
            "priority": body.priority,
            "notes": body.notes,
            "tags": body.tags,
        }
        shared |= {"name": f"{body.name} {stage.value}"[:MOST_NAME]} if body.name else {}
        values = {"stage": stage, "inputs": inputs, "config": body.config.get(stage, {}), **shared}
        job = JOBS[stage].model_validate(values)
        with _with_stage(stage):
            prepared = service.checked(session, me, job, PIPELINE_PLACES[stage])
        queued[stage] = prepared, body.gpus
        return {"job": str(service.store(session, me, job, prepared, row.id).id)}

    sft = queue(Stage.SFT, model=model, demonstrations=data["demonstrations"])
    reward = queue(Stage.REWARD, model=sft, rankings=data["preferences"], **beside)
    more: dict[str, Any] = {"pretraining": data["pretraining"]} if "pretraining" in data else {}
    more |= {"project": body.project} if body.project else {}
    queue(Stage.PPO, model=sft, reward_model=reward, prompts=data["prompts"], **more)
    return row, queued


Frozen = dict[str, dict[str, str]]  # snapshots by the names of inputs


def _inputs(session: Session, me: Person, body: NewPipeline) -> tuple[dict[str, str], Frozen, Frozen]:
    """The model, the frozen data and what comes along with the preferences.

    422 with what is wrong in them and in the settings of all stages.
    """
    problems, ppo = _config_problems(session, me, body)
    validator = JobValidator(session, me)
    model = validator.model(body.model, "/model", WRITERS)
    asked: dict[str, tuple[DataRef, str, type[Record]]] = {
        "demonstrations": (body.demonstrations, "/demonstrations", Demonstration),
        "preferences": (body.preferences, "/preferences", Ranking),
        "prompts": (body.prompts or body.preferences, "/prompts" if body.prompts else "/preferences", Prompt),
    }
    if body.pretraining or (ppo and ppo.ptx_coef):
        asked["pretraining"] = (body.pretraining or body.demonstrations, "/pretraining", Demonstration)
    data = {name: validator.data(*question) for name, question in asked.items()}
    beside = validator.beside(Stage.REWARD, body.preferences)
    if body.project:
        validator.project(body.project, "/project")
    problems += [found for found in validator.problems if found not in problems]
    if problems:
        raise invalid(problems)
    return model, data, beside


def _config_problems(session: Session, me: Person, body: NewPipeline) -> tuple[list[Problem], PPOConfig | None]:
    """What is wrong with the settings of any stage, and those of PPO where they are right."""
    problems: list[Problem] = []
    for stage, places in PIPELINE_PLACES.items():
        validator = JobValidator(session, me, places)
        config = validator.config(stage, body.preset, body.config.get(stage, {}))
        problems += [found for found in validator.problems if found not in problems]
        if config is not None:
            asked = JobValidator(session, me)
            asked.shareable(stage, config, body.gpus)
            problems += [_of_stage(stage, found) for found in asked.problems]
    for stage in body.config.keys() - PIPELINE_PLACES.keys():
        problems.append(
            Problem(
                pointer=f"/config/{stage.value}",
                message=Sentence("pipeline-stages", "A pipeline has the stages sft, reward and ppo."),
            )
        )
    return problems, config if isinstance(config, PPOConfig) else None


@contextmanager
def _with_stage(stage: Stage) -> Iterator[None]:
    """Problems say which stage has them, where their place in the pipeline's body does not."""
    try:
        yield
    except ApiError as error:
        if not error.problems:
            raise
        raise invalid([_of_stage(stage, each) for each in error.problems]) from None


def _of_stage(stage: Stage, problem: Problem) -> Problem:
    if problem.pointer.startswith(f"/config/{stage.value}"):
        return problem
    said = Sentence("stage-and-message", "%(stage)s: %(message)s", stage=stage.value, message=problem.message)
    return problem.model_copy(update={"message": said})


def get(session: Session, key: uuid.UUID, *, lock: bool = False) -> Pipeline:
    """404 where there is none. `lock` holds the row: its labels are one column, read and written whole."""
    found = session.get(Pipeline, key, with_for_update=lock, populate_existing=lock)
    if found is None:
        raise not_found("pipeline", key)
    return found


def show(session: Session, row: Pipeline) -> PipelineOut:
    return show_all(session, [row])[0]


def show_all(session: Session, rows: Sequence[Pipeline]) -> list[PipelineOut]:
    """Each pipeline with its jobs in the order of the stages."""
    found = queries.pipeline_jobs(session, [row.id for row in rows])
    shown = service.show(session, found, brief=True)
    return [_shown(row, [job for job in shown if job.pipeline == row.id]) for row in rows]


def _shown(row: Pipeline, jobs: list[JobOut]) -> PipelineOut:
    state = state_of([job.state for job in jobs])
    called: dict[str, Any] = {"name": row.name, "notes": row.notes, "tags": row.tags}
    return PipelineOut(
        id=row.id, **called, state=state, jobs=jobs, created_by=row.created_by, created_at=row.created_at
    )


def state_of(states: Sequence[JobState]) -> JobState:
    """One word for the whole: failed or cancelled if a stage is, otherwise that of the first unfinished stage."""
    for word in (JobState.FAILED, JobState.CANCELLED):
        if word in states:
            return word
    return next((state for state in states if state is not JobState.SUCCEEDED), JobState.SUCCEEDED)


def cancel(session: Session, key: uuid.UUID) -> Sequence[Job]:
    """Stop every stage that has not ended; its jobs."""
    return [service.cancel(session, job.id) for job in _unfinished(session, key, "cancelled")]


def pause(session: Session, key: uuid.UUID) -> Sequence[Job]:
    """Let every stage that has not ended save what it has and give its GPUs back; its jobs.

    One that writes its result ends first. 409 when there is nothing to pause.
    """
    waits = [job for job in _unfinished(session, key, "paused") if job.state not in (*ENDED, JobState.COMMITTING)]
    if not waits:
        detail = Sentence(
            "pipeline-still",
            "No stage of the pipeline waits or trains. If one has failed, resume the pipeline when it is mended.",
        )
        raise ApiError(409, "not-paused", detail)
    return [service.pause(session, job.id) for job in waits]


def _unfinished(session: Session, key: uuid.UUID, word: str) -> list[Job]:
    """Its jobs that have not succeeded, in order; 409 when there is none."""
    get(session, key)
    jobs = [job for job in queries.pipeline_jobs(session, [key]) if job.state is not JobState.SUCCEEDED]
    if not jobs:
        raise ApiError(
            409,
            f"not-{word}",
            Sentence("pipeline-succeeded", "Every stage of the pipeline has succeeded. Make a new pipeline."),
        )
    return jobs


def resume(session: Session, me: Person, key: uuid.UUID, changed: ResumedPipeline | None = None) -> Sequence[Job]:
    """Go on from the first stage that failed, was cancelled or is paused; its jobs. What succeeded stays.

    422 for settings of a stage that has succeeded, or that cannot be.
    """
    jobs, config = _unfinished(session, key, "resumed"), changed.config if changed else {}
    if done := config.keys() - {job.stage for job in jobs}:
        message = Sentence(
            "stage-settings-stay",
            "This stage has succeeded; its settings stay as they are. Make a new pipeline to change them.",
        )
        raise invalid([Problem(pointer=f"/config/{stage.value}", message=message) for stage in sorted(done)])
    for job in jobs:  # a stage comes after those that it needs
        with _told_by_stage(job.stage):
            again.resume(session, me, job.id, ChangedSettings(config=config.get(job.stage, {})))
    return jobs


@contextmanager
def _told_by_stage(stage: Stage) -> Iterator[None]:
    """Problems of a stage's settings by their place in the pipeline's body."""
    try:
        yield
    except ApiError as error:
        if not error.problems:
            raise
        moved = [
            each.model_copy(update={"pointer": f"/config/{stage.value}{_rest(each.pointer)}"})
            for each in error.problems
        ]
        raise invalid(moved) from None


def _rest(pointer: str) -> str:
    return pointer.removeprefix("/config") if pointer.startswith("/config") else ""
