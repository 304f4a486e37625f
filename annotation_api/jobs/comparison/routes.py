"""/v1/jobs:compare and /v1/models:compare: did it get better?"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from annotation_api.http.dependencies import READS_RUNS, Db, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.jobs.comparison import jobs, models
from annotation_api.jobs.comparison.schemas import JobComparison, ModelComparison

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=DoorRoute)
Several = Annotated[
    list[uuid.UUID], Query(max_length=50, description="Two to eight different ones, in the order to show.")
]


@router.get("/jobs:compare", dependencies=[allow(*READS_RUNS)])
def compare_jobs(session: Db, job: Several) -> JobComparison:
    """Settings that differ, final numbers with intervals, and every curve over the others'."""
    return jobs.compare(session, job)


@router.get("/models:compare", dependencies=[allow(*READS_RUNS)])
def compare_models(session: Db, model: Several) -> ModelComparison:
    """Numbers with intervals, and what policies reply to the same held-out prompts."""
    return models.compare(session, model)
