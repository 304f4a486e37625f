"""Pages on which jobs or models stand side by side."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from annotation_api.db.tables import Job, ModelVersion
from annotation_api.http.dependencies import READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute, as_json
from annotation_api.http.errors import ApiError
from annotation_api.jobs.comparison import jobs, models
from annotation_api.jobs.comparison.jobs import MOST, labelled
from annotation_api.jobs.comparison.schemas import JobComparison, ModelComparison
from annotation_api.jobs.curves import Curves
from annotation_api.web.markup import language
from annotation_api.web.markup.charts import HEIGHT, WIDTH, line
from annotation_api.web.markup.rendering import render, stage_name
from annotation_api.web.markup.wording import differing
from annotation_api.web.queries import newest
from annotation_api.web.runs import titles

router = APIRouter(route_class=DoorRoute)
Chosen = Annotated[list[uuid.UUID], Query(max_length=50)]


@router.get("/compare", dependencies=[allow(*READS_RUNS)])
def compare_page(request: Request, session: Db, me: Me, job: Chosen = [], model: Chosen = []) -> Response:  # noqa: B006
    """Jobs, or models where some are named, beside one another; otherwise what there is to choose from."""
    found: JobComparison | ModelComparison | None = None
    error: str | None = None
    spoken = language.language_of(request, me)
    try:
        if model:
            found = models.compare(session, model, titles.of_models)
        elif job:
            found = _compared(session, job, spoken)
    except ApiError as refusal:
        error = refusal.shown
    chosen = {str(key) for key in (*job, *model)}
    shared = {"chosen": chosen, "error": error, "most": MOST, "box": (WIDTH, HEIGHT), "line": line}
    if isinstance(found, ModelComparison):
        return render(request, "compare_models.html", me, it=found, differing=differing, **shared)
    if isinstance(found, JobComparison):
        at = "/compare/curves?" + "&".join(f"job={key}" for key in job)
        more = {"groups": found.charts, "curves_at": at, "alarms": [], "five": [], "nothing_held_out": False}
        return render(request, "compare_jobs.html", me, it=found, **shared, **more)
    rows = newest(session, Job, 50)
    with language.speaking(spoken):
        names = dict(zip([row.id for row in rows], labelled(rows, stage_name), strict=True))
    made = newest(session, ModelVersion, 50)
    called = titles.of_models(session, [row.id for row in made])
    lists = {"jobs": rows, "names": names, "models": made, "titles": called}
    return render(request, "compare.html", me, 422 if error else 200, **lists, **shared)


@router.get("/compare/curves", dependencies=[allow(*READS_RUNS)])
def compared_curves(request: Request, session: Db, me: Me, job: Chosen) -> Response:
    """The charts of the page, for its script."""
    found = _compared(session, job, language.language_of(request, me))
    return as_json(Curves(groups=found.charts, marks=[]))


def _compared(session: Db, keys: list[uuid.UUID], spoken: str) -> JobComparison:
    with language.speaking(spoken):
        return jobs.compare(session, keys, titles.of_models, stage_name)
