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
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from alignment.shared.intervals import interval95
from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.signals.readings import EVIDENCE, LEAST, SignalName, SignalReading, by_task

OTHERS = 2  # people besides those who are looked at
AGREED = 0.75  # of them
MOST_APART = 0.35  # of the pairs; at random it is a half
MOST_ALIKE = 0.5  # of the errors of two; at random it is a third

ByPerson = Mapping[uuid.UUID, GivenAnswer]
Pair = tuple[str, str]  # (better, worse)
WhoSaysWhat = Mapping[Pair, Set[uuid.UUID]]


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

    def reading(self, name: SignalName, most: float, other: uuid.UUID | None = None) -> SignalReading:
        ci95 = interval95(self.hits, self.counts)
        raised = sum(self.counts) >= LEAST and ci95[0] > most
        share = sum(self.hits) / sum(self.counts)
        return SignalReading(name, share, ci95, len(self.counts), raised, tuple(self.evidence[:EVIDENCE]), other)


def read_together(answers: Sequence[GivenAnswer]) -> dict[uuid.UUID, list[SignalReading]]:
    """By person: how far apart from the others, and the person who errs most alike if any errs alike."""
    apart: dict[uuid.UUID, Tally] = defaultdict(Tally)
    alike: dict[tuple[uuid.UUID, uuid.UUID], Tally] = defaultdict(Tally)
    for people in by_task(answers).values():
        said = who_says_what(people)
        for person, answer in people.items():
            wrong, agreed = errors(said, people, {person})
            apart[person].add(len(wrong[person]), agreed, answer)
        for one, other in itertools.combinations(sorted(people), 2):
            wrong, _ = errors(said, people, {one, other})
            both, either = wrong[one] & wrong[other], wrong[one] | wrong[other]
            alike[one, other].add(len(both), len(either), people[one])
            alike[other, one].add(len(both), len(either), people[other])
    found = {person: [tally.reading(SignalName.APART, MOST_APART)] for person, tally in apart.items() if tally.counts}
    for (one, other), tally in alike.items():
        if tally.counts and (reading := tally.reading(SignalName.PAIR, MOST_ALIKE, other)).raised:
            found.setdefault(one, []).append(reading)
    return found


def who_says_what(people: ByPerson) -> WhoSaysWhat:
    """By (better, worse): those who put the one before the other."""
    said: dict[Pair, set[uuid.UUID]] = defaultdict(set)
    for person, answer in people.items():
        for a, b in itertools.permutations(answer.keys, 2):
            if answer.rank_of[a] < answer.rank_of[b]:
                said[a, b].add(person)
    return said


def errors(said: WhoSaysWhat, people: ByPerson, judged: Set[uuid.UUID]) -> tuple[dict[uuid.UUID, set[Pair]], int]:
    """By person of those who are judged: the pairs that stand against what the others say; and on how many pairs they
    agree."""
    others = len(people) - len(judged)
    wrong: dict[uuid.UUID, set[Pair]] = {person: set() for person in judged}
    if others < OTHERS:
        return wrong, 0
    agreed = [pair for pair, who in said.items() if len(who - judged) >= AGREED * others]
    for better, worse in agreed:
        for person in said.get((worse, better), set()) & judged:
            wrong[person].add((better, worse))
    return wrong, len(agreed)
