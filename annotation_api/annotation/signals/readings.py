"""The named signals of one person's answers. Pure: answers in, readings with their evidence out.

A reading is raised only where chance hardly gives it: people are looked at again and again, and a false word about
somebody's work is worse than a late one. A raised reading accuses nobody; it says which answers to look at.
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from alignment.shared.intervals import Bounds, RatioSums, interval95
from annotation_api.annotation.signals.given import GivenAnswer

LEAST = 10  # answers before anything is said
READ_BYTES = 60  # a second: 700 words a minute, or 1200 Chinese characters; nobody reads faster and judges
FLOOR = 1.0  # seconds, however short the texts are
CHANCE = 1e-3  # of a raised reading, over all patterns that were tried
FAR = 3.9  # standard errors; two-sided 1e-4
EVIDENCE = 20  # answers that a reading names


class SignalName(StrEnum):
    SPEED = "speed"  # answered faster than the texts can be read
    STRAIGHT = "straight"  # the same places or the same keys again and again
    POSITION = "position"  # what stands first (or last) comes first
    LENGTH = "length"  # the order copies the lengths of the texts
    APART = "apart"  # says the contrary of what the others say
    PAIR = "pair"  # errs just as another person errs


@dataclass(frozen=True)
class SignalReading:
    """How strongly one signal shows in a person's answers."""

    name: SignalName
    value: float  # a share; of `position` the mean tau with the places, from -1 to 1
    ci95: Bounds
    answers: int  # on which it rests
    raised: bool
    evidence: tuple[uuid.UUID, ...]  # submissions that show it, newest first
    other: uuid.UUID | None = None  # of `pair`: the other person


@dataclass(frozen=True)
class EverybodyElse:
    """What a person's answers are held against, as sums: those of everybody, from which their own are taken away."""

    words: Counter[str]  # how often each is said
    copies: Counter[bool]  # by `longest` (`_copies`): orders that copy the lengths
    measured: int  # of so many

    @classmethod
    def of(cls, answers: Sequence[GivenAnswer]) -> EverybodyElse:
        measured = _by_length(answers)
        copies = Counter(longest for longest in (True, False) for answer in measured if _copies(answer, longest))
        return cls(Counter(answer.said for answer in answers if answer.said), copies, len(measured))

    def without(self, own: EverybodyElse) -> EverybodyElse:
        return EverybodyElse(self.words - own.words, self.copies - own.copies, self.measured - own.measured)


def read(own: Sequence[GivenAnswer], others: EverybodyElse) -> list[SignalReading]:
    """All readings of a person whose answers, newest first, are `own`; `others` are everybody else's."""
    return [found for test in (_speed, _straight, _position, _length) if (found := test(own, others))]


def _share(name: SignalName, hits: Sequence[GivenAnswer], of: int, raised: Callable[[Bounds], bool]) -> SignalReading:
    ci95 = _of(len(hits), of)
    seen = tuple(hit.submission for hit in hits[:EVIDENCE])
    return SignalReading(name, len(hits) / of, ci95, of, of >= LEAST and raised(ci95), seen)


def _of(hits: int, count: int) -> Bounds:
    """The interval of a share."""
    return RatioSums.over([(1.0, 1.0, hits), (0.0, 1.0, count - hits)]).interval95()


def _speed(own: Sequence[GivenAnswer], others: EverybodyElse) -> SignalReading | None:
    """The share of answers given in less time than it takes to read the texts; raised above a quarter."""
    timed = [answer for answer in own if answer.seconds is not None]
    hits = [answer for answer in timed if (answer.seconds or 0.0) < max(FLOOR, answer.read / READ_BYTES)]
    return _share(SignalName.SPEED, hits, len(timed), lambda ci95: ci95[0] > 0.25) if timed else None


# ---------------------------------------------------------------- the same again


def _straight(own: Sequence[GivenAnswer], others: EverybodyElse) -> SignalReading | None:
    """The share of the answer given most often, as places on the page; raised where chance hardly gives so many."""
    kinds = [_same_places(own), _same_words(own, others)]
    found = [each for each in kinds if each is not None]
    if not found:
        return None
    hits, of, chance = min(found, key=_telling)
    return _share(SignalName.STRAIGHT, hits, of, lambda ci95: chance < CHANCE)


Same = tuple[list[GivenAnswer], int, float]  # the answers that are the same, of how many, and the chance of that


def _same_places(own: Sequence[GivenAnswer]) -> Same | None:
    """On the merits, each way to lay groups of these sizes over the places is as likely as any other."""
    by_ties: dict[tuple[int, ...], list[GivenAnswer]] = {}
    for answer in own:
        if answer.ranks and answer.arrangements > 1:
            by_ties.setdefault(answer.ties, []).append(answer)
    found: list[Same] = []
    for answers in by_ties.values():
        pattern, count = Counter(answer.ranks for answer in answers).most_common(1)[0]
        ways = answers[0].arrangements
        chance = _at_least(len(answers), count, 1 / ways) * ways * len(by_ties)
        found.append(([answer for answer in answers if answer.ranks == pattern], len(answers), chance))
    return min(found, key=_telling, default=None)


def _telling(same: Same) -> tuple[float, int]:
    """What chance gives least; where it gives all of them, what rests on most answers."""
    return min(same[2], 1.0), -same[1]


def _same_words(own: Sequence[GivenAnswer], others: EverybodyElse) -> Same | None:
    """Answers and verdicts may rightly be the same: then the others give them as often."""
    mine, theirs = [a for a in own if a.said], others.words.total()
    if not mine or theirs < LEAST:
        return None
    words, count = Counter(answer.said for answer in mine).most_common(1)[0]
    usual = (others.words[words] + 1) / (theirs + 2)
    return [answer for answer in mine if answer.said == words], len(mine), _at_least(len(mine), count, usual)


def _at_least(n: int, k: int, p: float) -> float:
    """The chance of k or more of n with success rate p."""
    if p >= 1:
        return 1.0
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k, n + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


# ---------------------------------------------------------------- places and lengths


def _position(own: Sequence[GivenAnswer], others: EverybodyElse) -> SignalReading | None:
    """Kendall's tau of the order with the places, over all pairs; raised far from 0, where it is on the merits.

    The variance is that of Kendall's S under a random order of places (Kendall 1970, eq. 4.3, ties in one ranking).
    """
    ranked = [answer for answer in own if answer.ranks and answer.arrangements > 1]
    if not ranked:
        return None
    sums = [_kendall(answer.ranks) for answer in ranked]
    counts = [float(_untied(answer.ties)) for answer in ranked]
    variance = math.fsum(_variance(answer.ties) for answer in ranked)
    far = abs(sum(sums)) / math.sqrt(variance)
    ci95 = interval95(sums, counts, (-1.0, 1.0))
    way = math.copysign(1, sum(sums))
    seen = tuple(
        answer.submission for answer, total in zip(ranked, sums, strict=True) if total * way == _untied(answer.ties)
    )
    raised = len(ranked) >= LEAST and far > FAR
    return SignalReading(SignalName.POSITION, sum(sums) / sum(counts), ci95, len(ranked), raised, seen[:EVIDENCE])


@lru_cache(4096)
def _kendall(ranks: tuple[int, ...]) -> float:
    """Pairs in the order of the places less pairs against it."""
    return float(sum((a < b) - (a > b) for a, b in itertools.combinations(ranks, 2)))


@lru_cache(4096)
def _untied(ties: tuple[int, ...]) -> int:
    return math.comb(sum(ties), 2) - sum(math.comb(size, 2) for size in ties)


@lru_cache(4096)
def _variance(ties: tuple[int, ...]) -> float:
    def part(n: int) -> int:
        return n * (n - 1) * (2 * n + 5)

    return (part(sum(ties)) - sum(map(part, ties))) / 18


def _length(own: Sequence[GivenAnswer], others: EverybodyElse) -> SignalReading | None:
    """The share of orders that copy the lengths, longest or shortest first, whichever is more; raised above a half
    where the others' is below: what is good may well be long."""
    best, mine = None, _by_length(own)
    if not mine:
        return None
    for longest in (True, False):
        hits = [answer for answer in mine if _copies(answer, longest)]
        bar = max(0.5, _of(others.copies[longest], others.measured)[1]) if others.measured else 1.0
        found = _share(SignalName.LENGTH, hits, len(mine), lambda ci95, bar=bar: ci95[0] > bar)  # type: ignore[misc]
        best = found if best is None or found.value > best.value else best
    return best


def _by_length(answers: Sequence[GivenAnswer]) -> list[GivenAnswer]:
    """Rankings of texts of which no two are of one length."""
    return [answer for answer in answers if answer.ranks and len(set(answer.sizes)) == len(answer.sizes)]


def _copies(answer: GivenAnswer, longest: bool) -> bool:
    wanted = sorted(answer.sizes, reverse=longest)
    return [wanted[rank] for rank in answer.ranks] == list(answer.sizes)


def by_task(answers: Sequence[GivenAnswer]) -> Mapping[uuid.UUID, Mapping[uuid.UUID, GivenAnswer]]:
    """Rankings by task and person."""
    found: dict[uuid.UUID, dict[uuid.UUID, GivenAnswer]] = {}
    for answer in answers:
        if answer.ranks:
            found.setdefault(answer.task, {})[answer.person] = answer
    return found
