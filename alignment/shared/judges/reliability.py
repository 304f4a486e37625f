"""How much to trust whom: how often a person is right, where nobody knows what is right.

Values (choices, verdicts) follow Dawid and Skene (1979): the truth of each thing and each person's habit of mistaking
one value for another explain each other. Orders follow Chen et al. (2013): the responses of a task have strengths as
Bradley and Terry's, of which a person's comparison tells the truth with the probability eta, and the contrary without.
Departs from the latter in that a comparison is held only against the strengths that the others' orders give: with two
or three orders of a task each would otherwise prove itself.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alignment.shared.intervals import score_interval

Ranks = Sequence[int]
ROUNDS = 15  # of orders
MOST_ROUNDS = 100  # of values
CLOSE = 1e-4
FIRST = 0.8  # what is believed of everybody at first
RIGHT, WRONG = 4.0, 1.0  # as if a person had been right and wrong so often before: who said little is near 0.8
SPREAD = 3.0  # standard deviation of a task's strengths
STEPS = 4  # towards the strengths in a round


@dataclass(frozen=True)
class Reliability:
    """The chance that a person's vote is right, with its 95 % interval."""

    value: float
    low: float
    high: float
    votes: int  # comparisons or values that others judged, too
    items: int  # tasks or things behind them

    @property
    def weight(self) -> float:
        """What the person's vote is worth beside a sure one's: a coin's is worth nothing, nor is less than a coin."""
        return max(0.0, 2 * self.value - 1)


# ---------------------------------------------------------------- values


def of_values(things: Iterable[Mapping[str, str]]) -> dict[str, Reliability]:
    """By person; each thing has the value that each person gave it. Things with one value say nothing."""
    shared = [thing for thing in things if len(thing) > 1]
    kinds = sorted({value for thing in shared for value in thing.values()})
    if len(kinds) < 2:
        return {}
    truths = [_counts(thing, kinds) for thing in shared]
    right: dict[str, float] = {}
    for _ in range(MOST_ROUNDS):
        often = [sum(truth[kind] for truth in truths) / len(truths) for kind in kinds]
        habits = _habits(shared, truths, kinds)
        before, right = right, _right(habits, dict(zip(kinds, often, strict=True)))
        if before and max(abs(right[name] - before[name]) for name in right) < CLOSE:
            break
        truths = [_truth(thing, kinds, habits, often) for thing in shared]
    seen = Counter(name for thing in shared for name in thing)
    return {name: _reliability(right[name], seen[name], seen[name]) for name in sorted(right)}


Habits = Mapping[str, Mapping[str, Mapping[str, float]]]  # by person, truth, value: the probability
Truth = Mapping[str, float]  # the probability of each value to be right


def _counts(thing: Mapping[str, str], kinds: Sequence[str]) -> Truth:
    """The shares of the votes: what is believed at first."""
    votes = Counter(thing.values())
    return {kind: votes[kind] / len(thing) for kind in kinds}


def _habits(things: Sequence[Mapping[str, str]], truths: Sequence[Truth], kinds: Sequence[str]) -> Habits:
    """How often each person says each value where each is the truth."""
    counts: dict[str, dict[str, dict[str, float]]] = {}
    for thing, truth in zip(things, truths, strict=True):
        for name, value in thing.items():
            own = counts.setdefault(name, {kind: _prior(kind, kinds) for kind in kinds})
            for kind, likely in truth.items():
                own[kind][value] += likely
    return {
        name: {kind: {value: n / sum(row.values()) for value, n in row.items()} for kind, row in table.items()}
        for name, table in counts.items()
    }


def _prior(truth: str, kinds: Sequence[str]) -> dict[str, float]:
    return {value: RIGHT if value == truth else WRONG / (len(kinds) - 1) for value in kinds}


def _truth(thing: Mapping[str, str], kinds: Sequence[str], habits: Habits, often: Sequence[float]) -> Truth:
    logs = [
        math.log(max(share, 1e-9)) + math.fsum(math.log(habits[name][kind][value]) for name, value in thing.items())
        for kind, share in zip(kinds, often, strict=True)
    ]
    weights = [math.exp(log - max(logs)) for log in logs]
    return {kind: weight / math.fsum(weights) for kind, weight in zip(kinds, weights, strict=True)}


def _right(habits: Habits, often: Truth) -> dict[str, float]:
    return {name: math.fsum(often[kind] * table[kind][kind] for kind in often) for name, table in habits.items()}


# ---------------------------------------------------------------- orders


def of_orders(tasks: Iterable[Sequence[tuple[str, Ranks]]]) -> dict[str, Reliability]:
    """By person; each task has the ranks, 0 = best, that each person gave its responses."""
    shared = [task for task in tasks if len({name for name, _ in task}) > 1]
    eta = {name: FIRST for task in shared for name, _ in task}
    scores = [[[0.0] * len(ranks) for _, ranks in task] for task in shared]
    for _ in range(ROUNDS):
        before, eta = eta, _round(shared, eta, scores)
        if not eta or max(abs(eta[name] - before[name]) for name in eta) < CLOSE:
            break
    votes, items = _counted(shared)
    return {name: _reliability(eta[name], votes[name], items[name]) for name in sorted(eta) if votes[name]}


def _round(
    tasks: Sequence[Sequence[tuple[str, Ranks]]], eta: Mapping[str, float], scores: list[list[list[float]]]
) -> dict[str, float]:
    """Strengths by what the others say, then how often each person tells the truth of them."""
    right: dict[str, float] = defaultdict(lambda: RIGHT)
    count: dict[str, float] = defaultdict(lambda: RIGHT + WRONG)
    for task, of_task in zip(tasks, scores, strict=True):
        sides = [(name, comparisons_of(ranks)) for name, ranks in task]
        for (name, mine), strengths in zip(sides, of_task, strict=True):
            _move(strengths, [(eta[other], theirs) for other, theirs in sides if other != name])
            for better, worse in mine:
                truth = 1 / (1 + math.exp(strengths[worse] - strengths[better]))
                honest, contrary = eta[name] * truth, (1 - eta[name]) * (1 - truth)
                right[name] += honest / (honest + contrary)
                count[name] += 1
    return {name: min(max(right[name] / count[name], 0.001), 0.999) for name in eta}


def comparisons_of(ranks: Ranks) -> list[tuple[int, int]]:
    """(better, worse) of all that are not tied."""
    places = range(len(ranks))
    return [(i, j) for i in places for j in places if ranks[i] < ranks[j]]


def _move(strengths: list[float], others: Sequence[tuple[float, Sequence[tuple[int, int]]]]) -> None:
    """Some steps uphill on the likelihood of what the others said, with a Gaussian prior."""
    for _ in range(STEPS):
        pull = [-strength / SPREAD**2 for strength in strengths]
        for eta, sides in others:
            for better, worse in sides:
                truth = 1 / (1 + math.exp(strengths[worse] - strengths[better]))
                slope = (2 * eta - 1) * truth * (1 - truth) / (eta * truth + (1 - eta) * (1 - truth))
                pull[better] += slope
                pull[worse] -= slope
        for place, force in enumerate(pull):
            strengths[place] += force / (1 + len(others) / 2)


def _counted(tasks: Sequence[Sequence[tuple[str, Ranks]]]) -> tuple[dict[str, int], dict[str, int]]:
    votes: dict[str, int] = defaultdict(int)
    items: dict[str, int] = defaultdict(int)
    for task in tasks:
        for name, ranks in task:
            found = len(comparisons_of(ranks))
            votes[name] += found
            items[name] += found > 0
    return votes, items


def _reliability(value: float, votes: int, items: int) -> Reliability:
    """The comparisons of one task are not independent, so tasks are what the interval counts."""
    low, high = score_interval(value, value * (1 - value) / max(items, 1), max(items, 1))
    return Reliability(value, low, high, votes, items)
