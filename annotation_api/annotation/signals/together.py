"""Signals that need several people's answers to the same tasks: who says the contrary of the others, and which two err
alike. Pure.

Only pairs of responses count on which the others (two at least) agree: three in four of them or more. Independent
people err independently: of the pairs on which one of two errs, both err on few, a third if both answer at random. Who
copies errs alike.
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from alignment.shared.intervals import interval95
from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.signals.readings import EVIDENCE, LEAST, Reading, SignalName, by_task

OTHERS = 2  # people besides those who are looked at
AGREED = 0.75  # of them
MOST_APART = 0.35  # of the pairs; at random it is a half
MOST_ALIKE = 0.5  # of the errors of two; at random it is a third

ByPerson = Mapping[uuid.UUID, GivenAnswer]


@dataclass
class Tally:
    """Hits of so many, task by task, and the answers that show them."""

    hits: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    evidence: list[uuid.UUID] = field(default_factory=list)

    def add(self, hits: int, count: int, answer: GivenAnswer) -> None:
        if count:
            self.hits.append(hits)
            self.counts.append(count)
            self.evidence += [answer.submission] if hits else []

    def reading(self, name: SignalName, most: float, other: uuid.UUID | None = None) -> Reading:
        ci95 = interval95(self.hits, self.counts)
        raised = sum(self.counts) >= LEAST and ci95[0] > most
        share = sum(self.hits) / sum(self.counts)
        return Reading(name, share, ci95, len(self.counts), raised, tuple(self.evidence[:EVIDENCE]), other)


def read_together(answers: Sequence[GivenAnswer]) -> dict[uuid.UUID, list[Reading]]:
    """By person: how far apart from the others, and the person who errs most alike if any errs alike."""
    tasks = by_task(answers).values()
    apart: dict[uuid.UUID, Tally] = defaultdict(Tally)
    alike: dict[tuple[uuid.UUID, uuid.UUID], Tally] = defaultdict(Tally)
    for people in tasks:
        for person, answer in people.items():
            wrong, agreed = _errors(people, {person})
            apart[person].add(len(wrong[person]), agreed, answer)
        for one, other in itertools.combinations(sorted(people), 2):
            wrong, _ = _errors(people, {one, other})
            both, either = wrong[one] & wrong[other], wrong[one] | wrong[other]
            alike[one, other].add(len(both), len(either), people[one])
            alike[other, one].add(len(both), len(either), people[other])
    found = {person: [tally.reading(SignalName.APART, MOST_APART)] for person, tally in apart.items() if tally.counts}
    for (one, other), tally in alike.items():
        if tally.counts and (reading := tally.reading(SignalName.PAIR, MOST_ALIKE, other)).raised:
            found.setdefault(one, []).append(reading)
    return found


def _errors(people: ByPerson, judged: Collection[uuid.UUID]) -> tuple[dict[uuid.UUID, set[tuple[str, str]]], int]:
    """By person of those who are judged: the pairs that stand against what the others say; and on how many pairs they
    agree."""
    rest = [answer for person, answer in people.items() if person not in judged]
    wrong: dict[uuid.UUID, set[tuple[str, str]]] = {person: set() for person in judged}
    agreed = list(_agreed(rest)) if len(rest) >= OTHERS else []
    for better, worse in agreed:
        for person in judged:
            if people[person].rank_of[better] > people[person].rank_of[worse]:
                wrong[person].add((better, worse))
    return wrong, len(agreed)


def _agreed(rest: Sequence[GivenAnswer]) -> Iterator[tuple[str, str]]:
    """(better, worse) where they say so."""
    for a, b in itertools.permutations(rest[0].keys, 2):
        if sum(answer.rank_of[a] < answer.rank_of[b] for answer in rest) >= AGREED * len(rest):
            yield a, b
