"""Whose response people prefer: what one order says of the models that wrote the responses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from annotation_api.db.tallies.judgements import Item, Judged

BUCKETS = 200  # of tasks; a resample draws buckets, since sums by task would be as many as the tasks
MOST_DOUBLINGS = 3


class WinKey(NamedTuple):
    criterion: str
    language: str
    first: str
    second: str
    bucket: int
    longer: int


class Pair(NamedTuple):
    """Two responses of two models in a task, and where it is counted which is better."""

    first: str
    second: str
    key: WinKey


def pairs_of(task: Judged) -> list[Pair]:
    """Every two responses of two models; the same for all judgements of a task."""
    return list(_pairs(task))


def _pairs(task: Judged) -> Iterator[Pair]:
    criterion, bucket = task.form.criterion or task.criterion, task.task.int % BUCKETS
    for item, other in combinations(task.items, 2):
        if item.model is None or other.model is None or item.model == other.model:
            continue
        low, high = sorted((item.model, other.model))
        first, second = (item, other) if item.model == low else (other, item)
        yield Pair(first.id, second.id, WinKey(criterion, task.language, low, high, bucket, doublings(first, second)))


def doublings(first: Item, second: Item) -> int:
    """How many times the second's length must be doubled to be the first's, to the nearest whole number."""
    exact = math.log2((first.size + 1) / (second.size + 1))
    return max(-MOST_DOUBLINGS, min(MOST_DOUBLINGS, round(exact)))
