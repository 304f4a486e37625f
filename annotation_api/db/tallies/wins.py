"""Whose response people prefer: what one order says of the models that wrote the responses."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from annotation_api.db.tallies.judgements import Item, Judged

BUCKETS = 200  # of tasks; a resample draws buckets, since sums by task would be as many as the tasks
MOST_DOUBLINGS = 3


class WinKey(NamedTuple):
    criterion: str
    language: str
    first: uuid.UUID
    second: uuid.UUID
    bucket: int
    longer: int


def wins_of(one: Judged, rank_of: Mapping[str, int]) -> Iterator[tuple[WinKey, tuple[int, int, int]]]:
    """(wins, losses, ties) of the first for every two responses of two models."""
    criterion, bucket = one.form.criterion or one.criterion, one.task.int % BUCKETS
    for item, other in combinations(one.items, 2):
        if item.model is None or other.model is None or item.model == other.model:
            continue
        first, second = (item, other) if item.model < other.model else (other, item)
        assert first.model is not None
        assert second.model is not None
        key = WinKey(criterion, one.language, first.model, second.model, bucket, doublings(first, second))
        gap = rank_of[second.id] - rank_of[first.id]
        yield key, (int(gap > 0), int(gap < 0), int(gap == 0))


def doublings(first: Item, second: Item) -> int:
    """How many times the second's length must be doubled to be the first's, to the nearest whole number."""
    exact = math.log2((first.size + 1) / (second.size + 1))
    return max(-MOST_DOUBLINGS, min(MOST_DOUBLINGS, round(exact)))
