"""How far answers to one task lie apart. Pure: payloads in, a share from 0 (all say the same) to 1 out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Payload = Mapping[str, Any]


def disagreement(payloads: Sequence[Payload]) -> float:
    """The mean over all pairs of answers; 0 for fewer than two."""
    apart = [distance(one, other) for one, other in itertools.combinations(payloads, 2)]
    return sum(apart) / len(apart) if apart else 0.0


def distance(one: Payload, other: Payload) -> float:
    """Of rankings: the share of pairs of responses that stand the other way round, a tie against an order half
    (Kendall's distance with Fagin's penalty). Of answers and verdicts: the share that differs."""
    if "groups" in one:
        return _of_orders(ranks(one["groups"]), ranks(other["groups"]))
    name = "answers" if "answers" in one else "verdicts"
    asked = one[name].keys() | other[name].keys()
    return sum(one[name].get(key) != other[name].get(key) for key in asked) / len(asked) if asked else 0.0


def ranks(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """The rank of each response, 0 = best, equal for ties."""
    return {key: place for place, group in enumerate(groups) for key in group}


def _of_orders(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    pairs = list(itertools.combinations(sorted(one), 2))
    apart = [abs(_sign(one[a] - one[b]) - _sign(other[a] - other[b])) / 2 for a, b in pairs]
    return sum(apart) / len(pairs) if pairs else 0.0


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)
