"""Curves and bars for small SVGs. Pure: numbers in, places and labels out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300.0, 90.0
MOST_POINTS = 240


@dataclass(frozen=True)
class Lines:
    """Several series on one axis, scaled to a box of WIDTH by HEIGHT; y grows downwards as in SVG."""

    points: list[str]  # of a polyline each
    low: float
    high: float
    first_step: int
    last_step: int


@dataclass(frozen=True)
class Bar:
    """A bar of a chart that is WIDTH by HEIGHT, standing on its floor."""

    label: str
    value: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Mark:
    """A value at a step with its interval, as places in a box of WIDTH by HEIGHT."""

    x: float
    y: float
    low: float
    high: float


def marks(
    values: Iterable[tuple[int, float, float, float]], last_step: int, span: tuple[float, float] | None = None
) -> list[Mark]:
    """(step, value, low, high) on an axis from step 0 to `last_step`, so that charts of one run stand side by side.

    `span` is the least and the largest value of the box; unset: those that there are.
    """
    rows = list(values)
    ends = [end for _, _, low, high in rows for end in (low, high)]
    least, most = span or (min(ends, default=0.0), max(ends, default=0.0))

    def at(value: float) -> float:
        return round((1 - _place(value, least, most)) * HEIGHT, 1)

    return [
        Mark(round(_place(step, 0, last_step) * WIDTH, 1), at(value), at(low), at(high))
        for step, value, low, high in rows
    ]


def bars(values: Sequence[tuple[str, float]]) -> list[Bar]:
    """A bar for each (label, value of 0 or more), the highest as high as the box; a few bars stay slim."""
    highest = max((value for _, value in values), default=0.0) or 1.0
    step = WIDTH / max(len(values), 14)
    return [
        Bar(label, value, round(n * step, 1), round((1 - value / highest) * HEIGHT, 1), round(step * 0.7, 1), h)
        for n, (label, value) in enumerate(values)
        for h in [round(value / highest * HEIGHT, 1)]
    ]


def line(series: Sequence[Sequence[tuple[int, float]]]) -> Lines:
    """The series of one chart, each with a point at least and in the order of its steps."""
    thin = [_thin(points) for points in series]
    steps, values = [step for one in thin for step, _ in one], [value for one in thin for _, value in one]
    first, last, low, high = min(steps), max(steps), min(values), max(values)

    def at(step: int, value: float) -> str:
        return f"{_place(step, first, last) * WIDTH:.1f},{(1 - _place(value, low, high)) * HEIGHT:.1f}"

    return Lines([" ".join(at(*point) for point in one) for one in thin], low, high, first, last)


def _thin(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most about MOST_POINTS, evenly spaced, the last one among them."""
    stride = -(-len(points) // MOST_POINTS)
    return points if stride == 1 else [*points[:-1:stride], points[-1]]


def _place(value: float, low: float, high: float) -> float:
    """0 at low, 1 at high; the middle when there is no span."""
    return (value - low) / (high - low) if high > low else 0.5
