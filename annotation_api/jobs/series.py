"""Measured numbers as series, thinned so that a plot of any length stays small."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from annotation_api.jobs.detail_schemas import Series

Row = tuple[str, str, int, float | None]


def thinned(rows: Iterable[Row], most: int) -> list[Series]:
    """One series for each phase and name; of each, `most` points at even distances with first and last."""
    groups = itertools.groupby(rows, key=lambda row: row[:2])
    return [
        Series(phase=phase, name=name, points=_thin([(step, value) for *_, step, value in group], most))
        for (phase, name), group in groups
    ]


def _thin(points: list[tuple[int, float | None]], most: int) -> list[tuple[int, float | None]]:
    if len(points) <= most:
        return points
    if most == 1:
        return points[-1:]
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]
