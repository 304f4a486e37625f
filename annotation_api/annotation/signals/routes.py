"""/v1/projects/{id}: signals in people's answers, and hours at work."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.annotation.projects.service import find_project
from annotation_api.annotation.signals import service
from annotation_api.annotation.signals.hours import Hours, as_csv, hours
from annotation_api.annotation.signals.schemas import Signals
from annotation_api.http.dependencies import READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.http.errors import invalid
from annotation_api.http.schemas import Day

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["quality"], route_class=DoorRoute)
DAYS = 30  # where none are named
OnDay = Annotated[Day | None, Query(description="Included; unset: the last 30 days.")]


@router.get("/signals", dependencies=[allow(*READS_RUNS)])
def list_signals(project_id: uuid.UUID, session: Db, me: Me) -> Signals:
    """What stands out in each person's newest answers, with the answers that show it."""
    find_project(session, project_id)
    return Signals(items=service.signals(session, me, project_id))


@router.get(
    "/hours",
    response_model=Hours,
    dependencies=[allow(*READS_RUNS)],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def show_hours(
    project_id: uuid.UUID,
    session: Db,
    me: Me,
    since: OnDay = None,
    until: OnDay = None,
    format: Annotated[Literal["json", "csv"], Query(description="csv: a table for spreadsheets.")] = "json",
) -> Hours | Response:
    """Time at work by person and day, with median and quartiles by task."""
    project = find_project(session, project_id)
    found = hours(session, me, project.id, *period(since, until))
    if format == "json":
        return found
    name = f'attachment; filename="hours-{found.since}-{found.until}.csv"'
    return Response(as_csv(found.items), media_type="text/csv", headers={"Content-Disposition": name})


def period(since: date | None, until: date | None) -> tuple[date, date]:
    """The days that are meant. ApiError 422 for an end before the beginning."""
    last = until or (datetime.now(UTC).date() if since is None else max(since, datetime.now(UTC).date()))
    first = since or last - min(timedelta(days=DAYS - 1), last - date.min)
    if first > last:
        raise invalid(
            [
                Problem(
                    pointer="query:since",
                    message=Sentence("after-the-last", "It is after %(last)s.", last=last),
                    value=str(first),
                )
            ]
        )
    return first, last
