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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from alignment.shared.intervals import interval95
from annotation_api.annotation.signals.given import GivenAnswer
from annotation_api.annotation.signals.readings import EVIDENCE, LEAST, SignalName, SignalReading, by_task

OTHERS = 2  # people besides those who are looked at
AGREED = 0.75  # of them
MOST_APART = 0.35  # of the pairs; at random it is a half
MOST_ALIKE = 0.5  # of the errors of two; at random it is a third


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

    def may_be_raised(self, most: float) -> bool:
        """Whether its interval, whose lower end is not above its share, could lie above `most`."""
        return sum(self.counts) >= LEAST and sum(self.hits) > most * sum(self.counts)

    def reading(self, name: SignalName, most: float, other: uuid.UUID | None = None) -> SignalReading:
        ci95 = interval95(self.hits, self.counts)
        raised = sum(self.counts) >= LEAST and ci95[0] > most
        share = sum(self.hits) / sum(self.counts)
        return SignalReading(name, share, ci95, len(self.counts), raised, tuple(self.evidence[:EVIDENCE]), other)


@dataclass(frozen=True)
class Orders:
    """The rankings of a task. People are bits, since everybody's answers to every task are looked at at once."""

    answers: tuple[GivenAnswer, ...]  # that of person n is bit n
    pairs: tuple[tuple[int, int], ...]  # by (better, worse): who says so, and who says the contrary

    @classmethod
    def of(cls, answers: Iterable[GivenAnswer]) -> Orders:
        given, said = tuple(answers), defaultdict[tuple[str, str], int](int)
        for n, answer in enumerate(given):
            for (a, first), (b, second) in itertools.combinations(answer.rank_of.items(), 2):
                if first != second:
                    said[(a, b) if first < second else (b, a)] |= 1 << n
        return cls(given, tuple((who, said.get((worse, better), 0)) for (better, worse), who in said.items()))

    def errors(self, judged: int) -> list[int]:
        """For each pair on which the others than those judged agree: who of these says the contrary."""
        others = len(self.answers) - judged.bit_count()
        if others < OTHERS:
            return []
        least, rest = AGREED * others, ~judged
        return [against & judged for who, against in self.pairs if (who & rest).bit_count() >= least]

    def apart(self, n: int) -> tuple[int, int]:
        """Of the pairs on which the others agree, how many this person sets against them; and how many there are."""
        wrong = self.errors(1 << n)
        return sum(map(bool, wrong)), len(wrong)


def read_together(answers: Sequence[GivenAnswer]) -> dict[uuid.UUID, list[SignalReading]]:
    """By person: how far apart from the others, and the person who errs most alike if any errs alike."""
    people = sorted({answer.person for answer in answers})
    number = {person: n for n, person in enumerate(people)}
    apart, alike = defaultdict[int, Tally](Tally), defaultdict[tuple[int, int], Tally](Tally)
    for given in by_task(answers).values():
        task = Orders.of(given.values())
        ids = [number[answer.person] for answer in task.answers]
        for n, answer in enumerate(task.answers):
            apart[ids[n]].add(*task.apart(n), answer)
        for i, j in itertools.combinations(sorted(range(len(ids)), key=ids.__getitem__), 2):
            wrong = [who for who in task.errors(1 << i | 1 << j) if who]
            if wrong:
                both = sum(who.bit_count() == 2 for who in wrong)
                alike[ids[i], ids[j]].add(both, len(wrong), task.answers[i])
                alike[ids[j], ids[i]].add(both, len(wrong), task.answers[j])
    found = {people[n]: [tally.reading(SignalName.APART, MOST_APART)] for n, tally in apart.items() if tally.counts}
    for (one, other), tally in alike.items():
        if not tally.may_be_raised(MOST_ALIKE):
            continue
        if (reading := tally.reading(SignalName.PAIR, MOST_ALIKE, people[other])).raised:
            found.setdefault(people[one], []).append(reading)
    return found
