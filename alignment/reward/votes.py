"""Several annotators of one task: how much each of their rankings counts. Pure: ranks in, numbers out.

Votes are never merged in silence. Each stays a ranking of its own in the loss, or, when the majority is
asked for, its comparisons are decided by count. Ranks are `(K,)`, 0 = best, equal for ties.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from alignment.shared.judges import reliability

Ranks = tuple[int, ...]
MOST_TASKS = 3000  # from which reliabilities are estimated: some seconds


def agreement(one: Ranks, other: Ranks) -> float:
    """Share of the response pairs that both order alike; a tie against an order is half an agreement."""
    pairs = list(itertools.combinations(range(len(one)), 2))
    return sum(1.0 - abs(_side(one, i, j) - _side(other, i, j)) for i, j in pairs) / len(pairs) if pairs else 1.0


def by_agreement(ranks: Sequence[Ranks]) -> list[float]:
    """Each vote's mean agreement with the other votes on the same task; 1 for a vote that stands alone."""
    if len(ranks) == 1:
        return [1.0]
    return [
        sum(agreement(mine, r) for j, r in enumerate(ranks) if j != i) / (len(ranks) - 1)
        for i, mine in enumerate(ranks)
    ]


def reliabilities(tasks: Sequence[Sequence[tuple[str | None, Ranks]]]) -> dict[str, float]:
    """What each annotator's votes are worth, 0 to 1: the desk's own estimate, by which a coin is worth 0.

    Who shares no task with anybody is not in the result. Of many tasks a sample is asked.
    """
    named = [[(name, ranks) for name, ranks in votes if name is not None] for votes in tasks]
    stride = -(-len(named) // MOST_TASKS) or 1
    return {name: found.weight for name, found in reliability.of_orders(named[::stride]).items()}


def by_reliability(annotators: Sequence[str | None], known: Mapping[str, float]) -> list[float]:
    """The reliability of each vote's annotator; the mean of all where it is unknown, 1 where all are."""
    usual = sum(known.values()) / len(known) if known else 1.0
    return [known.get(name, usual) if name is not None else usual for name in annotators]


def majority(ranks: Sequence[Ranks], weights: Sequence[float]) -> dict[tuple[int, int], float]:
    """What most votes say of each pair i < j: 1 i is better, 0 j is better, 1/2 tied or undecided."""
    found = {}
    for i, j in itertools.combinations(range(len(ranks[0])), 2):
        counts: dict[float, float] = defaultdict(float)
        for order, weight in zip(ranks, weights, strict=True):
            counts[_side(order, i, j)] += weight
        most = [side for side, count in counts.items() if count == max(counts.values())]
        found[i, j] = most[0] if len(most) == 1 else 0.5
    return found


def is_cyclic(ranks: Sequence[Ranks]) -> bool:
    """True where the majority contradicts itself: a over b, b over c, c over a (Condorcet's paradox)."""
    if len(ranks) < 3:  # two votes either agree on a pair or leave it undecided
        return False
    below: dict[int, set[int]] = defaultdict(set)
    for (i, j), side in majority(ranks, [1.0] * len(ranks)).items():
        if side != 0.5:
            below[i if side == 1.0 else j].add(j if side == 1.0 else i)
    left = set(range(len(ranks[0])))
    while left:  # take away what is beaten by nobody, again and again: an order empties, a cycle stays
        top = {k for k in left if not any(k in below[other] for other in left)}
        if not top:
            return True
        left -= top
    return False


def _side(ranks: Ranks, i: int, j: int) -> float:
    """1 where i is better than j, 0 where it is worse, 1/2 where they tie."""
    return 0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j])
