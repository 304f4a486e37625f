"""Krippendorff's alpha from a table of coincidences (Krippendorff 2018, chapter 12).

The table is a sum over units (what several people valued), so it is kept up to date by adding and taking away; alpha
follows from it at any level of measurement. 1 is agreement, 0 what chance gives, less than 0 opposition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import permutations
from typing import TypeVar

Value = str | int
V = TypeVar("V", bound=Value)
Coincidences = Mapping[tuple[V, V], float]


class Level(StrEnum):
    NOMINAL = "nominal"  # values are the same or not
    ORDINAL = "ordinal"  # values have an order
    RATIO = "ratio"  # values have a zero, and shares of one another


def coincidences(units: Iterable[Sequence[V]]) -> dict[tuple[V, V], float]:
    """How often two values met on a unit, each of its m values once: a pair of values counts 1 / (m - 1)."""
    found: dict[tuple[V, V], float] = defaultdict(float)
    for values in units:
        for one, other in permutations(values, 2):
            found[one, other] += 1 / (len(values) - 1)
    return dict(found)


def alpha(table: Coincidences[V], level: Level) -> float | None:
    """None where there are fewer than two values to compare, or where all values are the same one."""
    totals: dict[V, float] = defaultdict(float)
    for (one, _), times in table.items():
        totals[one] += times
    n, distance = sum(totals.values()), _distance(totals, level)
    expected = sum(totals[a] * totals[b] * distance(a, b) for a in totals for b in totals)
    if n <= 1 or not expected:
        return None
    observed = sum(times * distance(a, b) for (a, b), times in table.items())
    return 1 - (n - 1) * observed / expected


def _distance(totals: Mapping[V, float], level: Level) -> Callable[[V, V], float]:
    """The squared difference of two values."""
    if level is Level.NOMINAL:
        return lambda a, b: float(a != b)
    if level is Level.RATIO:
        return _ratio
    middle, below = {}, 0.0  # values up to the middle of each
    for value in sorted(totals):
        middle[value] = below + totals[value] / 2
        below += totals[value]
    return lambda a, b: (middle[a] - middle[b]) ** 2


def _ratio(a: Value, b: Value) -> float:
    """Of numbers from 0 on."""
    one, other = float(a), float(b)
    return ((one - other) / (one + other)) ** 2 if one + other else 0.0
