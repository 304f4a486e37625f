"""Who wins: the strengths of model versions, from the games that are kept by model, length and bucket of tasks."""

from __future__ import annotations

import math
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from annotation_api.db.tables import ModelVersion, ModelWin
from annotation_api.db.tallies.fold import fold
from annotation_api.models.leaderboard import queries
from annotation_api.models.leaderboard.schemas import Duel, Leaderboard, LengthEffect, ModelStanding

if TYPE_CHECKING:
    from annotation_api.models.leaderboard.davidson import Fit, Games

PATIENCE = 0.3  # seconds for which a reader counts what waits
ELO, ELO_MEAN = 400 / math.log(10), 1000.0
MANY = 20  # models from which fewer resamples are drawn


@dataclass(frozen=True)
class BoardFilter:
    """Which games count."""

    project: uuid.UUID | None = None
    criterion: str | None = None
    language: str | None = None
    length: bool = False  # controlled


@dataclass(frozen=True)
class GameRow:
    """Games of two models in one bucket of tasks."""

    first: uuid.UUID
    second: uuid.UUID
    bucket: int
    longer: int
    counts: tuple[int, int, int]  # wins of the first, losses, ties


def leaderboard(session: Session, wanted: BoardFilter) -> Leaderboard:
    """The models by strength, with what was judged up to now."""
    end = time.monotonic() + PATIENCE
    while fold(session) and time.monotonic() < end:
        pass
    projects = queries.visible_projects(session, wanted.project)
    rows, known = _rows(session, projects, wanted)
    duels = _duels(rows)
    found = _fit(rows, list(known), wanted.length) if rows else None
    return Leaderboard(
        models=_standings(known, duels, found) if found else [],
        duels=duels,
        length=_length(found) if found and wanted.length else None,
        criteria=queries.parts(session, projects, ModelWin.criterion),
        languages=queries.parts(session, projects, ModelWin.language),
    )


def _rows(
    session: Session, projects: Sequence[uuid.UUID], wanted: BoardFilter
) -> tuple[list[GameRow], dict[uuid.UUID, ModelVersion]]:
    """The games between models that the caller sees, and those models."""
    which: list[ColumnElement[bool]] = [ModelWin.project_id.in_(projects)]
    if wanted.criterion is not None:
        which.append(ModelWin.criterion == wanted.criterion)
    if wanted.language is not None:
        which.append(ModelWin.language == wanted.language)
    found = [
        GameRow(first, second, bucket, longer, (int(w), int(lost), int(t)))
        for first, second, bucket, longer, w, lost, t in queries.wins(session, which, by_length=wanted.length)
    ]
    seen = queries.models(session, {key for row in found for key in (row.first, row.second)})
    rows = [row for row in found if row.first in seen and row.second in seen]
    played = {key for row in rows for key in (row.first, row.second)}
    return rows, {key: model for key, model in seen.items() if key in played}


def _fit(rows: Sequence[GameRow], models: Sequence[uuid.UUID], length: bool) -> Fit:
    from annotation_api.models.leaderboard import davidson  # numpy, for this page alone

    resamples = davidson.RESAMPLES if len(models) < MANY else davidson.RESAMPLES // 4
    return davidson.fit(games_of(rows, models), length=length, resamples=resamples)


def games_of(rows: Sequence[GameRow], models: Sequence[uuid.UUID]) -> Games:
    """As arrays: a unit is a bucket of tasks, a cell two models and a length."""
    import numpy as np

    from annotation_api.models.leaderboard.davidson import Games

    place = {model: n for n, model in enumerate(models)}
    cells = {cell: n for n, cell in enumerate(sorted({(row.first, row.second, row.longer) for row in rows}))}
    units = {bucket: n for n, bucket in enumerate(sorted({row.bucket for row in rows}))}
    design, counts = np.zeros((len(cells), len(models))), np.zeros((len(units), len(cells), 3))
    for (first, second, _), n in cells.items():
        design[n, place[first]], design[n, place[second]] = 1.0, -1.0
    for row in rows:
        counts[units[row.bucket], cells[row.first, row.second, row.longer]] += row.counts
    return Games(design, np.array([float(longer) for _, _, longer in cells]), counts)


def _duels(rows: Iterable[GameRow]) -> list[Duel]:
    found: dict[tuple[uuid.UUID, uuid.UUID], Counter[int]] = {}
    for row in rows:
        found.setdefault((row.first, row.second), Counter()).update(dict(enumerate(row.counts)))
    return [
        Duel(first=first, second=second, wins=n[0], losses=n[1], ties=n[2])
        for (first, second), n in sorted(found.items())
    ]


def _standings(known: Mapping[uuid.UUID, ModelVersion], duels: Sequence[Duel], found: Fit) -> list[ModelStanding]:
    groups, standings = _groups(known, duels), []
    for n, (key, model) in enumerate(known.items()):
        score = float(found.strengths[n])
        low = None if found.low is None else float(found.low[n])
        high = None if found.high is None else float(found.high[n])
        wins, losses, ties = _played(key, duels)
        standings.append(
            ModelStanding(
                model=key,
                name=model.name,
                kind=model.kind,
                group=groups[key],
                strength=score,
                low=low,
                high=high,
                elo=_elo(score),
                elo_low=None if low is None else _elo(low),
                elo_high=None if high is None else _elo(high),
                comparisons=wins + losses + ties,
                wins=wins,
                losses=losses,
                ties=ties,
            )
        )
    return sorted(standings, key=lambda row: (row.group, -row.strength))


def _elo(strength: float) -> float:
    return ELO_MEAN + ELO * strength


def _played(key: uuid.UUID, duels: Iterable[Duel]) -> tuple[int, int, int]:
    """Wins, losses and ties of a model."""
    wins = losses = ties = 0
    for duel in duels:
        if key in (duel.first, duel.second):
            mine, theirs = (duel.wins, duel.losses) if duel.first == key else (duel.losses, duel.wins)
            wins, losses, ties = wins + mine, losses + theirs, ties + duel.ties
    return wins, losses, ties


def _groups(keys: Iterable[uuid.UUID], duels: Iterable[Duel]) -> dict[uuid.UUID, int]:
    """Numbers from 1 of the sets of models that games connect, the largest first."""
    of = {key: {key} for key in keys}
    for duel in duels:
        if of[duel.first] is not of[duel.second]:
            joined = of[duel.first] | of[duel.second]
            of |= dict.fromkeys(joined, joined)
    sets = sorted({id(members): members for members in of.values()}.values(), key=lambda members: -len(members))
    return {key: number for number, members in enumerate(sets, start=1) for key in members}


def _length(found: Fit) -> LengthEffect:
    low, high = found.length_interval or (None, None)
    return LengthEffect(value=found.length, low=low, high=high)
