"""The page of a person's own work: answers to read again and correct, speed, and what lies unfinished."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from annotation_api.http.dependencies import ANNOTATES, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.web import work_queries
from annotation_api.web.markup.charts import HEIGHT, WIDTH, Bar, bars
from annotation_api.web.markup.fields import ChosenId
from annotation_api.web.markup.rendering import render

Seq = Annotated[int | None, Query(ge=0, lt=2**63)]
router = APIRouter(prefix="/mine", dependencies=[allow(*ANNOTATES)], route_class=DoorRoute)
MOST_SHOWN = 140  # letters of a question


@router.get("")
def mine_page(request: Request, session: Db, me: Me, project: ChosenId = None, before: Seq = None) -> Response:
    items, after = work_queries.own_items(session, me, project, before)
    days = work_queries.by_day(session, me, project)
    today, week, median = work_queries.this_week(session, me)
    return render(
        request,
        "mine.html",
        me,
        items=[(submission, of, opening(record), kind) for submission, of, record, kind in items],
        after=after,
        first_page=before is None,
        drafts=[(draft, of, opening(record)) for draft, of, record in work_queries.own_drafts(session, me)],
        projects=work_queries.own_projects(session, me),
        chosen=project,
        days=days,
        chart=_speed(days),
        box=(WIDTH, HEIGHT),
        today=today,
        week=week,
        median=median,
    )


def opening(record: dict[str, Any]) -> str:
    """The beginning of the last thing that was asked."""
    text = " ".join(str(record["messages"][-1]["content"])[: 4 * MOST_SHOWN].split())
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def _speed(days: Any) -> list[Bar]:
    return bars([(row.day.strftime("%m-%d"), row.seconds or 0.0) for row in days])
