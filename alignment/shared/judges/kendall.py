"""Kendall's rank correlations with ties: tau-b of two orders (1945), W of several (Kendall and Smith 1939).

Both say None where nothing can be said: an order that ties everything agrees with no order more than with another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Ranks = Sequence[int]


def tau_b(one: Ranks, other: Ranks) -> float | None:
    """From -1 (the reverse) to 1 (the same): concordant less discordant pairs, over those that either does not tie."""
    pairs = [(i, j) for j in range(len(one)) for i in range(j)]
    sides = [(_sign(one[i] - one[j]), _sign(other[i] - other[j])) for i, j in pairs]
    untied = sum(a != 0 for a, _ in sides), sum(b != 0 for _, b in sides)
    if not all(untied):
        return None
    return sum(a * b for a, b in sides) / math.sqrt(untied[0] * untied[1])


def w(orders: Sequence[Ranks]) -> float | None:
    """Concordance of m people on k items, from 0 (no common order) to 1 (the same order), corrected for ties."""
    m, k = len(orders), len(orders[0]) if orders else 0
    if m < 2 or k < 2:
        return None
    places = [_mid_ranks(order) for order in orders]
    sums = [math.fsum(column) for column in zip(*places, strict=True)]
    spread = math.fsum((total - m * (k + 1) / 2) ** 2 for total in sums)
    ties = sum(size**3 - size for order in orders for size in Counter(order).values())
    most = m**2 * (k**3 - k) - m * ties
    return 12 * spread / most if most else None


def _mid_ranks(order: Ranks) -> list[float]:
    """From 1; who ties shares the mean of the places taken."""
    return [sum(x < own for x in order) + (sum(x == own for x in order) + 1) / 2 for own in order]


def _sign(gap: int) -> int:
    return (gap > 0) - (gap < 0)
