"""A dry run of a pipeline: what each of its stages would do and take, or what is wrong; nothing is created."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.validation import Problem
from annotation_api.db.tables import Person
from annotation_api.http.errors import ApiError
from annotation_api.jobs import service as jobs
from annotation_api.jobs.pipelines import service
from annotation_api.jobs.pipelines.schemas import NewPipeline
from annotation_api.jobs.schemas import Estimate


class PipelineValidation(BaseModel):
    """The answer of a dry run: an estimate of each stage. What a stage makes is taken to be as large as the base."""

    ok: bool
    problems: list[Problem]
    estimates: dict[Stage, Estimate]


def validate(session: Session, me: Person, body: NewPipeline) -> PipelineValidation:
    """What `create` would say, and what the stages would take. Whatever was made on the way is undone."""
    problems: list[Problem] = []
    found: dict[Stage, Estimate] = {}
    with session.begin_nested() as attempt:
        try:
            queued = service.queue_stages(session, me, body)[1]
            base = queued[Stage.SFT][0].folders
            for stage, (prepared, gpus) in queued.items():
                for role in ("model", "reward_model") if base else ():
                    prepared.folders.setdefault(role, base["model"])
                found[stage] = jobs.estimated(session, prepared, gpus)
        except ApiError as error:
            problems = list(error.problems) or [Problem(pointer="", message=error.detail)]
        attempt.rollback()
    return PipelineValidation(ok=not problems, problems=problems, estimates={} if problems else found)
