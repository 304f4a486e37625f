"""Letting a job go on, or trying it again: as it was, or with other settings, which are checked as a new job's are."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import RewardConfig
from alignment.shared.sentence import Sentence
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs.differences import laid_over
from annotation_api.db.jobs.machine import DEAD
from annotation_api.db.jobs.records import JobError
from annotation_api.db.tables import Job, JobState, ModelVersion, Person
from annotation_api.http.errors import ApiError
from annotation_api.jobs import service
from annotation_api.jobs.schemas import ChangedSettings, NewJob
from annotation_api.jobs.validation.validator import ValidatedJob

WHOLE = tuple(name for name, field in RewardConfig.model_fields.items() if field.default_factory is dict)
Ask = Callable[[Session, uuid.UUID], Job]


def resume(session: Session, me: Person, key: uuid.UUID, changed: ChangedSettings | None = None) -> Job:
    """Let a paused job go on; a failed or cancelled one is tried again; what waits or runs stays as it is.

    422 for settings that cannot be, 409 where the job or what it reads does not allow it.
    """
    return _again(session, me, key, job_requests.resume, "resumed", changed)


def retry(session: Session, me: Person, key: uuid.UUID, changed: ChangedSettings | None = None) -> Job:
    """Queue a failed or cancelled job again; one that waits, runs or is paused stays as it is. Errors as `resume`."""
    return _again(session, me, key, job_requests.retry, "retried", changed)


def _again(session: Session, me: Person, key: uuid.UUID, ask: Ask, word: str, changed: ChangedSettings | None) -> Job:
    job = service.get(session, key)
    if job.state is JobState.SUCCEEDED:
        raise ApiError(
            409, f"not-{word}", Sentence("job-succeeded", "The job has succeeded. Make a new job to run it once more.")
        )
    if job.state in DEAD or job.state is JobState.PAUSED:
        _refuse_gone(session, job, word)
    try:
        if changed:
            prepared = settled(session, me, job, changed)
            gpus = job.gpus if changed.gpus is None else changed.gpus
            priority = job.priority if changed.priority is None else changed.priority
            job_requests.change(session, key, prepared.config.model_dump(mode="json"), gpus, priority)
        return ask(session, key)
    except JobError as error:
        raise ApiError(
            409,
            f"not-{word}",
            Sentence("job-cannot-be", "The job cannot be %(word)s: %(error)s.", word=word, error=error),
        ) from None


def settled(session: Session, me: Person, job: Job, changed: ChangedSettings) -> ValidatedJob:
    """The job with other settings, checked at the same door as a new one; 422 with every problem."""
    return service.checked(session, me, service.typed(with_changes(job, changed)))


def with_changes(job: Job, changed: ChangedSettings) -> NewJob:
    """What a new job would be asked for that has its inputs, and its settings with the changes on top."""
    config: dict[str, Any] = laid_over(job.config, changed.config, WHOLE)
    gpus = job.gpus if changed.gpus is None else changed.gpus
    shared: dict[str, Any] = {"inputs": job.inputs, "gpus": gpus, "allow_cpu": job.allow_cpu}
    return NewJob.model_construct(None, stage=job.stage, config=config, **shared)


def _refuse_gone(session: Session, job: Job, word: str) -> None:
    """409 where a model that the job reads was removed meanwhile: it would be queued only to fail."""
    named = _model_ids(job.inputs)  # whose folders were there when the job was made
    for model in _models(session, job):
        folder = Path(model.path)
        if model.removed_at or (model.id in named and folder.is_absolute() and not folder.is_dir()):
            gone = f"the files of {model.name}, which it reads, are gone"
            step = Sentence("train-or-register", "Train or register that model again, and make a new job.")
            raise ApiError(
                409,
                f"not-{word}",
                Sentence(
                    "job-cannot-be-next",
                    "The job cannot be %(word)s: %(gone)s. %(step)s",
                    word=word,
                    gone=gone,
                    step=step,
                ),
            )


def _models(session: Session, job: Job) -> list[ModelVersion]:
    try:
        inputs = job_graph.resolve_inputs(session, job)
    except JobError:  # a job that it needs has made no model yet
        inputs = job.inputs
    return [model for key in _model_ids(inputs) if (model := session.get(ModelVersion, key))]


def _model_ids(inputs: Mapping[str, Any]) -> set[uuid.UUID]:
    """The versions that inputs name, by themselves or in a list."""
    given = [each for value in inputs.values() for each in (value if isinstance(value, list) else [value])]
    return {uuid.UUID(each["model"]) for each in given if isinstance(each, dict) and "model" in each}
