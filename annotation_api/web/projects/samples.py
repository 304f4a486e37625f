"""Fill a project with a model's own answers: a sample job that names the project, from a form on its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.db.snapshots.freeze import DATASET_SOURCES
from annotation_api.db.tables import Dataset, DatasetKind, ModelKind, ModelVersion, Person, Project
from annotation_api.http.errors import ApiError
from annotation_api.jobs import service as jobs
from annotation_api.jobs.schemas import JobOut, NewJob
from annotation_api.web.projects.form_builder import Fields, UnreadableForm

WRITES = (ModelKind.BASE, ModelKind.SFT, ModelKind.POLICY)  # a reward model has nothing to say
POINTERS = {"/inputs/models": "model", "/inputs/prompts": "prompts", "/config": "responses"}  # where a form shows them


def models_of(rows: Sequence[ModelVersion]) -> list[ModelVersion]:
    return [row for row in rows if row.kind in WRITES]


def prompts_of(rows: Sequence[Dataset]) -> list[Dataset]:
    """Data sets that give prompts; where there are responses, too, they are not used."""
    return [row for row in rows if row.kind in DATASET_SOURCES[DatasetKind.PROMPTS]]


def start(session: Session, me: Person, project: Project, fields: Fields) -> JobOut:
    """Queue the job. UnreadableForm says what is wrong by field."""
    count = fields.get("responses", "")
    try:
        return jobs.create(session, me, NewJob(stage=Stage.SAMPLE, **_body(project, fields, count)))
    except ApiError as error:
        raise UnreadableForm(_by_field(error)) from None


def _body(project: Project, fields: Fields, count: str) -> dict[str, Any]:
    return {
        "inputs": {
            "models": [{"model": fields.get("model", "")}],
            "prompts": {"dataset": fields.get("prompts", "")},
            "project": str(project.id),
        },
        "config": {"responses_per_prompt": count or project.responses_per_task},
    }


def _by_field(error: ApiError) -> dict[str, str]:
    found = {
        next((field for start, field in POINTERS.items() if each.pointer.startswith(start)), "model"): each.message
        for each in error.problems
    }
    return found or {"model": error.detail}
