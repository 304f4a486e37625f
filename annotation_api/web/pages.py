"""Every HTML page. The pages call the same services as /v1 and hold no rules of their own."""

from __future__ import annotations

from fastapi import APIRouter

from annotation_api.http.entry.route import DoorRoute
from annotation_api.web import (
    account,
    audit,
    data,
    erasures,
    home,
    jobs,
    leaderboard,
    mine,
    models,
    people,
    snapshots,
)
from annotation_api.web.actions import labels, prepare
from annotation_api.web.annotate import page as annotate
from annotation_api.web.projects import agreement, members, tasks
from annotation_api.web.projects import pages as projects
from annotation_api.web.review import pages as review
from annotation_api.web.review import screening, threads
from annotation_api.web.runs import compare, curves
from annotation_api.web.start import again, register
from annotation_api.web.start import pages as start

router = APIRouter(route_class=DoorRoute)
for part in (
    account,
    home,
    projects,
    agreement,
    tasks,
    members,
    annotate,
    review,
    screening,
    threads,
    mine,
    people,
    audit,
    data,
    prepare,
    snapshots,
    start,
    again,
    register,
    compare,
    curves,
    labels,
    jobs,
    models,
    leaderboard,
    erasures,
):
    router.include_router(part.router)
