"""Agreement of a project's people, from the sums that are kept (`db.tallies`)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from sqlalchemy.orm import Session

from alignment.shared.intervals import SHARE, RatioSums
from alignment.shared.judges import krippendorff
from alignment.shared.judges.krippendorff import Level
from annotation_api.annotation.agreement import queries
from annotation_api.annotation.agreement.schemas import AgreementFigure, AgreementOut, Statistic
from annotation_api.db.kinds import Slice
from annotation_api.db.tables import AgreementSum, AgreementValue, Project
from annotation_api.db.tallies.contributions import Measure
from annotation_api.db.tallies.fold import fold

PATIENCE = 0.3  # seconds for which a reader counts what waits; the dispatcher does the rest
STATISTICS = {
    Measure.PAIRS: (Statistic.PAIRS, SHARE),
    Measure.TAU: (Statistic.TAU, (-1.0, 1.0)),
    Measure.W: (Statistic.W, SHARE),
    Measure.SAME: (Statistic.SAME, SHARE),
}
ALPHAS = {
    Level.NOMINAL: Statistic.NOMINAL,
    Level.ORDINAL: Statistic.ORDINAL,
    Level.RATIO: Statistic.RATIO,
}


def agreement_of(session: Session, project: Project, by: Sequence[Slice]) -> AgreementOut:
    """The project's agreement in these slices, with what was judged up to now."""
    count_what_waits(session)
    figures = [figure for which in by for figure in _figures(session, project.id, which)]
    whole = queries.sums(session, project.id, Slice.ALL)
    pairs = next((row for row in whole if row.measure == Measure.PAIRS), None)
    return AgreementOut(
        project=project.id,
        waiting=queries.waiting(session, project.id),
        ceiling=_figure(pairs) if pairs else None,
        figures=figures,
        left_out=sum(queries.left_out(session, project.id, which) for which in by),
    )


def count_what_waits(session: Session) -> None:
    """So that an answer counts at once; for a while, where much waits."""
    end = time.monotonic() + PATIENCE
    while fold(session) and time.monotonic() < end:
        pass


def _figures(session: Session, project: uuid.UUID, which: Slice) -> Iterator[AgreementFigure]:
    sums = queries.sums(session, project, which)
    items = {(row.subject, row.value): round(row.total) for row in sums if row.measure == Measure.ITEMS}
    yield from (_figure(row) for row in sums if row.measure != Measure.ITEMS)
    for (subject, value), rows in groupby(
        queries.values(session, project, which), lambda row: (row.subject, row.value)
    ):
        yield from _alphas(list(rows), which, items.get((subject, value), 0))


def _figure(row: AgreementSum) -> AgreementFigure:
    sums = RatioSums(row.total, row.count, row.squares, row.products, row.count_squares, row.prompts)
    statistic, bounds = STATISTICS[Measure(row.measure)]
    low, high = sums.interval95(bounds)
    return AgreementFigure(
        statistic=statistic,
        subject=row.subject,
        slice=Slice(row.slice),
        value=row.value,
        estimate=sums.value,
        low=low,
        high=high,
        items=round(row.count),
        prompts=row.prompts,
    )


def _alphas(rows: Sequence[AgreementValue], which: Slice, items: int) -> Iterator[AgreementFigure]:
    """Nominal for all; for numbers also ordinal and ratio."""
    table = {(json.loads(row.one), json.loads(row.other)): row.times for row in rows}
    for level in _levels(value for pair in table for value in pair):
        yield AgreementFigure(
            statistic=ALPHAS[level],
            subject=rows[0].subject,
            slice=which,
            value=rows[0].value,
            estimate=krippendorff.alpha(table, level),
            low=None,
            high=None,
            items=items,
            prompts=None,
        )


def _levels(values: Iterable[object]) -> list[Level]:
    numbers = all(type(value) is int for value in values)
    return list(Level) if numbers else [Level.NOMINAL]
