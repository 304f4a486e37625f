"""The page on who wins: model versions by strength, and how each fared against each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from annotation_api.db.tables import Project
from annotation_api.http.dependencies import READS_RUNS, Db, Me, allow
from annotation_api.http.entry.route import DoorRoute
from annotation_api.models.leaderboard import service
from annotation_api.models.leaderboard.schemas import Leaderboard, ModelStanding
from annotation_api.web.markup.charts import WIDTH
from annotation_api.web.markup.fields import ChosenId, Words
from annotation_api.web.markup.rendering import render
from annotation_api.web.queries import newest
from annotation_api.web.runs import titles

router = APIRouter(route_class=DoorRoute)
ROW = 22.0  # height of a model's line in the plot
MOST_IN_MATRIX = 12  # models; a wider table would not be read


@dataclass(frozen=True)
class Span:
    """A strength with its interval as places in a plot that is WIDTH wide."""

    name: str
    y: float
    x: float
    low: float
    high: float


@router.get("/leaderboard", dependencies=[allow(*READS_RUNS)])
def leaderboard_page(
    request: Request,
    session: Db,
    me: Me,
    project: ChosenId = None,
    criterion: Words = "",
    language: Words = "",
    length: bool = False,
) -> Response:
    """All comparisons, or those that the form chooses; an empty field chooses nothing."""
    wanted = service.BoardFilter(project, criterion or None, language or None, length)
    board = _called(session, service.leaderboard(session, wanted))
    return render(
        request,
        "leaderboard.html",
        me,
        board=board,
        spans=_spans(board.models),
        matrix=_matrix(board),
        box=(WIDTH, ROW * len(board.models)),
        projects=newest(session, Project),
        chosen={"project": str(project or ""), "criterion": criterion, "language": language, "length": length},
    )


def _called(session: Session, board: Leaderboard) -> Leaderboard:
    """The models by what the pages call them."""
    called = titles.of_models(session, [row.model for row in board.models])
    models = [row.model_copy(update={"name": called.get(row.model, row.name)}) for row in board.models]
    return board.model_copy(update={"models": models})


def _spans(models: Sequence[ModelStanding]) -> list[Span]:
    """The strengths on one axis."""
    ends = [end for row in models for end in (row.low, row.high, row.strength) if end is not None]
    least, most = min(ends, default=0.0), max(ends, default=0.0)

    def at(value: float | None, otherwise: float) -> float:
        place = otherwise if value is None else value
        return round((place - least) / (most - least) * WIDTH, 1) if most > least else WIDTH / 2

    return [
        Span(
            row.name,
            ROW * (n + 0.5),
            at(row.strength, 0),
            at(row.low, row.strength),
            at(row.high, row.strength),
        )
        for n, row in enumerate(models)
    ]


def _matrix(board: Leaderboard) -> list[tuple[ModelStanding, list[float | None]]]:
    """Of each of the first models, the share that it won against each, a tie half; None where they never met."""
    shares: dict[tuple[uuid.UUID, uuid.UUID], float] = {}
    for duel in board.duels:
        games = duel.wins + duel.losses + duel.ties
        shares[duel.first, duel.second] = (duel.wins + duel.ties / 2) / games
        shares[duel.second, duel.first] = (duel.losses + duel.ties / 2) / games
    shown = board.models[:MOST_IN_MATRIX]
    return [(row, [shares.get((row.model, other.model)) for other in shown]) for row in shown]
