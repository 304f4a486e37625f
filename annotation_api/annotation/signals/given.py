"""One person's answers as the signals look at them: places on the page, not response ids. Pure.

Whoever judges on the merits knows nothing of the places in which answers stand: the order shown is drawn for a task
and turned from person to person. So what follows the places, the lengths or the clock follows no merit.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from alignment.shared.records import canonical_json
from annotation_api.db.tallies.sides import in_order


@dataclass(frozen=True)
class GivenAnswer:
    """A first answer. Of a ranking `ranks` says, place by place as shown, where the response came; else it is empty."""

    submission: uuid.UUID
    task: uuid.UUID
    person: uuid.UUID
    keys: tuple[str, ...]  # response ids as shown
    ranks: tuple[int, ...]  # 0 = best, equal for ties
    said: str  # of answers and verdicts: all of them, as text
    meant: str  # the same, as if the responses had stood in the order of sampling
    sizes: tuple[int, ...]  # bytes of each response, as shown
    read: int  # bytes of all that there was to read
    seconds: float | None  # at work

    @cached_property
    def rank_of(self) -> Mapping[str, int]:
        return dict(zip(self.keys, self.ranks, strict=True))

    @property
    def ties(self) -> tuple[int, ...]:
        """The sizes of its groups, best first."""
        return ties_of(self.ranks)

    @property
    def arrangements(self) -> int:
        """In how many ways such groups can lie over the places."""
        return arrangements_of(self.ties)


@lru_cache(4096)  # of a few responses there are few orders, and thousands of answers
def ties_of(ranks: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(ranks.count(rank) for rank in sorted(set(ranks)))


@lru_cache(4096)
def arrangements_of(ties: tuple[int, ...]) -> int:
    return math.factorial(sum(ties)) // math.prod(map(math.factorial, ties))


def read_answer(
    submission: uuid.UUID,
    task: uuid.UUID,
    person: uuid.UUID,
    payload: Mapping[str, Any],
    shown: Sequence[str],
    sizes: Mapping[str, int],
    prompt: int,
    active_ms: int | None,
    about_sides: Collection[str],
) -> GivenAnswer:
    """`sizes` are bytes by response in the order of sampling, `prompt` those of the prompt, `about_sides` the ids of
    the questions whose answers name a side of a pair."""
    place = {key: rank for rank, group in enumerate(payload.get("groups", ())) for key in group}
    lengths = tuple(sizes[key] for key in shown)
    return GivenAnswer(
        submission,
        task,
        person,
        tuple(shown),
        tuple(place[key] for key in shown) if place else (),
        "" if place else _words(payload),
        "" if place else _words(in_order(payload, shown, list(sizes), about_sides)),
        lengths,
        prompt + sum(lengths),
        None if active_ms is None else active_ms / 1000,
    )


def _words(payload: Mapping[str, Any]) -> str:
    return canonical_json(payload.get("answers") or payload.get("verdicts") or {})
