"""What speed costs in agreement: people's newest rankings in four quarters, from the fastest to the slowest. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, Field

from alignment.shared.intervals import interval95
from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.signals.readings import by_task
from annotation_api.annotation.signals.together import Orders

QUARTERS = 4
LEAST = 10  # answers of a quarter


class SpeedQuarter(BaseModel):
    """A quarter of the answers, by the seconds that a kilobyte of text took."""

    seconds: float = Field(description="Median time at work of its answers.")
    answers: int
    agreement: float = Field(
        description="The share of pairs of responses that stand as the others say, of those on which three in four "
        "others (two at least) agree."
    )
    agreement_ci95: tuple[float, float]


def what_speed_costs(answers: Sequence[GivenAnswer]) -> list[SpeedQuarter]:
    """The fastest quarter first; empty for too few answers that have a time and others to agree with."""
    judged = sorted(_judged(answers), key=lambda one: one[0])
    size = len(judged) // QUARTERS
    if size < LEAST:
        return []
    ends = [round(place * len(judged) / QUARTERS) for place in range(QUARTERS + 1)]
    return [_quarter(judged[begin:end]) for begin, end in itertools.pairwise(ends)]


Judged = tuple[float, float, float, float]  # seconds a kilobyte, seconds, pairs as the others say, of so many


def _judged(answers: Sequence[GivenAnswer]) -> list[Judged]:
    found: list[Judged] = []
    for people in by_task(answers).values():
        task = Orders.of(people.values())
        for n, answer in enumerate(task.answers):
            wrong, agreed = task.apart(n)
            if agreed and answer.seconds is not None:
                kilobytes = answer.read / 1000
                kept = float(agreed - wrong)
                found.append((answer.seconds / kilobytes, answer.seconds, kept, float(agreed)))
    return found


def _quarter(judged: Sequence[Judged]) -> SpeedQuarter:
    kept, agreed = [one[2] for one in judged], [one[3] for one in judged]
    return SpeedQuarter(
        seconds=median(one[1] for one in judged),
        answers=len(judged),
        agreement=sum(kept) / sum(agreed),
        agreement_ci95=interval95(kept, agreed),
    )
