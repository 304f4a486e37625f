"""The first page of each role."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from annotation_api.annotation.gold import screening
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.submissions import queries as judgements
from annotation_api.annotation.tasks import queries as tasks
from annotation_api.db.tables import Dataset, Job, ModelVersion, Role
from annotation_api.db.tallies import counts
from annotation_api.http.dependencies import ANNOTATES, ENGINEERS, SIGNED_IN, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.jobs import queries as job_queries
from annotation_api.web import queries
from annotation_api.web.markup.rendering import render
from annotation_api.web.runs import titles

router = APIRouter(route_class=DoorRoute)
RECENT = 5


@router.get("/", dependencies=[allow(*SIGNED_IN)])
def home(request: Request, session: Db, me: Me, archived: bool = False) -> Response:
    """The projects, with one's own progress; for those who read runs, what happened last."""
    rows = queries.listed(session, archived=archived)
    reads_runs, engineer = me.role != Role.ANNOTATOR, me.role in ENGINEERS
    worked_in = [row.id for row in rows] if me.role in ANNOTATES else []
    latest = queries.newest(session, Job, RECENT) if reads_runs else []
    models = queries.newest(session, ModelVersion, RECENT) if reads_runs else []
    return render(
        request,
        "home.html",
        me,
        projects=projects.show_projects(session, rows),
        archived=archived,
        put_away=queries.has_archived(session),
        left=tasks.left_of(session, me, worked_in),
        pauses=screening.pauses_of(session, me, worked_in),
        mine=counts.judged_by(session, me.id) if me.role in ANNOTATES else {},
        today=judgements.judged_today_in(session, me, worked_in),
        jobs=latest,
        spent=job_queries.spent(session, [job.id for job in latest]),
        models=models,
        titles=titles.of_models(session, [row.id for row in models]),
        datasets=queries.newest(session, Dataset, RECENT) if engineer else [],
    )
