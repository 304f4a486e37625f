"""The page on how far a project's people agree: in all, by what they judged, by person, by pair, over time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter, Request, Response

from annotation_api.annotation.agreement import service, trust
from annotation_api.annotation.agreement.schemas import AgreementFigure, Statistic
from annotation_api.annotation.gold.service import shows_names
from annotation_api.annotation.projects import service as projects
from annotation_api.db.kinds import Slice
from annotation_api.db.tallies.contributions import BETWEEN
from annotation_api.http.dependencies import READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.web.markup.charts import HEIGHT, WIDTH, Mark, marks
from annotation_api.web.markup.rendering import render
from annotation_api.web.queries import names_by_pseudonym

router = APIRouter(prefix="/projects", route_class=DoorRoute)
SHOWN = (Slice.ALL, Slice.CRITERION, Slice.LANGUAGE, Slice.FORM, Slice.PERSON, Slice.MAJORITY, Slice.PAIR, Slice.DAY)
PARTS = (Slice.CRITERION, Slice.LANGUAGE, Slice.FORM)
IN_ORDERS = (Statistic.PAIRS, Statistic.TAU)  # what is shown of two people, and over time
MOST_PAIRS = 60
MOST_DAYS = 120


@dataclass(frozen=True)
class Plot:
    """A statistic over days."""

    statistic: Statistic
    marks: list[Mark]
    first: AgreementFigure
    last: AgreementFigure


@dataclass(frozen=True)
class PersonLine:
    """A person beside the others."""

    name: str
    others: AgreementFigure
    majority: AgreementFigure | None


@router.get("/{project_id}/agreement", dependencies=[allow(*READS_RUNS)])
def agreement_page(project_id: uuid.UUID, request: Request, session: Db, me: Me, people: bool = False) -> Response:
    """With `people` also whom to trust, which takes a second."""
    project = projects.find_project(session, project_id)
    found = service.agreement_of(session, project, SHOWN)
    by = {which: [figure for figure in found.figures if figure.slice is which] for which in SHOWN}
    judges = [figure.value for figure in by[Slice.PERSON]]
    return render(
        request,
        "agreement.html",
        me,
        project=project,
        found=found,
        trust=trust.trust_of(session, project) if people else None,
        whole=by[Slice.ALL],
        parts=[figure for which in PARTS for figure in by[which]],
        people=_people(by[Slice.PERSON], by[Slice.MAJORITY]),
        pairs=_pairs(by[Slice.PAIR]),
        called=names_by_pseudonym(session, judges) if shows_names(session, me, project.id) else {},
        most_pairs=MOST_PAIRS,
        between=BETWEEN,
        plots=[plot for statistic in IN_ORDERS if (plot := _plot(statistic, by[Slice.DAY]))],
        box=(WIDTH, HEIGHT),
    )


def _people(others: Iterable[AgreementFigure], majority: Iterable[AgreementFigure]) -> list[PersonLine]:
    """Who agrees least stands first."""
    beside = {figure.value: figure for figure in majority if figure.statistic is Statistic.PAIRS}
    lines = [
        PersonLine(figure.value, figure, beside.get(figure.value))
        for figure in others
        if figure.statistic is Statistic.PAIRS
    ]
    return sorted(lines, key=lambda line: line.others.estimate or 0.0)


def _pairs(figures: Iterable[AgreementFigure]) -> list[AgreementFigure]:
    """The pairs of people who agree least."""
    found = [figure for figure in figures if figure.statistic is Statistic.PAIRS]
    return sorted(found, key=lambda figure: figure.estimate or 0.0)[:MOST_PAIRS]


def _plot(statistic: Statistic, by_day: Iterable[AgreementFigure]) -> Plot | None:
    """None for less than two days: a point is no course."""
    rows = [figure for figure in by_day if figure.statistic is statistic][-MOST_DAYS:]
    if len(rows) < 2:
        return None
    begin = date.fromisoformat(rows[0].value)
    places = [(date.fromisoformat(row.value) - begin).days for row in rows]
    points = [
        (place, row.estimate or 0.0, row.low or 0.0, row.high or 0.0) for place, row in zip(places, rows, strict=True)
    ]
    least = -1.0 if statistic is Statistic.TAU else 0.0
    return Plot(statistic, marks(points, places[-1], (least, 1.0)), rows[0], rows[-1])
