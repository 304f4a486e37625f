"""What the judgements of one prompt add to the sums. Pure: judgements in, numbers out.

A prompt is one observation, as in every interval here; so a new judgement is counted as what its prompt adds with it,
less what the prompt added without it.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations, permutations
from typing import NamedTuple

from alignment.shared.judges import kendall
from alignment.shared.judges.orders import Order, PairVote, against_majority, besides, predictions, votes_of
from annotation_api.db.kinds import Slice
from annotation_api.db.tables import FeedbackKind
from annotation_api.db.tallies.judgements import Judged
from annotation_api.db.tallies.values import Unit, units_of
from annotation_api.db.tallies.wins import WinKey, pairs_of


class Measure(StrEnum):
    PAIRS = "pairs"  # one predicts another's preference: the share that is right
    TAU = "tau"  # Kendall's tau-b of two people's orders of a task
    W = "w"  # Kendall's W of all orders of a task
    SAME = "same"  # two people give the same value
    ITEMS = "items"  # what two people or more gave a value; a count


class SumKey(NamedTuple):
    measure: str
    subject: str
    slice: str
    value: str


class ValueKey(NamedTuple):
    subject: str
    slice: str
    value: str
    one: str
    other: str


Part = tuple[Slice, str]
BETWEEN = " | "  # two pseudonyms


def pair_of(one: str, other: str) -> str:
    return BETWEEN.join(sorted((one, other)))


@dataclass
class Contribution:
    """What a prompt adds: (total, count) by sum, coincidences by values, [wins, losses, ties] by models."""

    sums: dict[SumKey, tuple[float, float]] = field(default_factory=dict)
    values: dict[ValueKey, float] = field(default_factory=lambda: defaultdict(float))
    wins: dict[WinKey, list[int]] = field(default_factory=dict)

    def add(self, measure: Measure, subject: str, parts: Iterable[Part], total: float, count: float = 1.0) -> None:
        for name, value in parts:
            key = SumKey(measure, subject, name, value)
            before = self.sums.get(key, (0.0, 0.0))
            self.sums[key] = before[0] + total, before[1] + count


def contribution(judgements: Sequence[Judged]) -> Contribution:
    """Of those of them that stand."""
    found, current = Contribution(), standing(judgements)
    ranked = [order for one in current for order in orders_of(one)]
    for same in by_criterion(ranked):
        _add_pairs(found, same)
        for task in _by_task(same):
            _add_orders(found, task)
            _add_wins(found, task)
    for task in _by_task(current):
        for unit in units_of(task):
            _add_unit(found, task[0], unit)
    return found


def standing(judgements: Sequence[Judged]) -> list[Judged]:
    """Those that no other one of them corrects."""
    corrected = {one.supersedes for one in judgements}
    return [one for one in judgements if one.id not in corrected]


def orders_of(one: Judged) -> list[Judged]:
    """A ranking as one of each order that it gives: the whole, and those by other criteria, ranked apart."""
    if one.kind != FeedbackKind.RANKING:
        return []
    apart = besides(criterion_of(one), one.payload.get("apart", {}))
    return [one, *(_apart(one, criterion, groups) for criterion, groups in apart)]


def _apart(one: Judged, criterion: str, groups: Sequence[Sequence[str]]) -> Judged:
    return replace(one, form=replace(one.form, criterion=criterion), payload={"groups": groups})


def by_criterion(orders: Iterable[Judged]) -> Iterable[list[Judged]]:
    """Orders by one criterion say nothing of those by another."""
    found: dict[str, list[Judged]] = {}
    for one in orders:
        found.setdefault(criterion_of(one), []).append(one)
    return found.values()


def ranks_of(one: Judged) -> dict[str, int]:
    """The rank of each response by its id."""
    return {key: rank for rank, group in enumerate(one.payload["groups"]) for key in group}


def criterion_of(one: Judged, own: str | None = None) -> str:
    return own or one.form.criterion or one.criterion


def parts_of(one: Judged, criterion: str) -> list[Part]:
    """The slices of all judgements of its task."""
    named = [(Slice.CRITERION, criterion), (Slice.LANGUAGE, one.language), (Slice.FORM, one.form.name)]
    return [(Slice.ALL, ""), *((name, value) for name, value in named if value)]


def _by_task(judgements: Iterable[Judged]) -> Iterable[list[Judged]]:
    tasks: dict[uuid.UUID, list[Judged]] = {}
    for one in judgements:
        tasks.setdefault(one.task, []).append(one)
    return tasks.values()


def _add_pairs(found: Contribution, ranked: Sequence[Judged]) -> None:
    """Agreement on pairs, over all tasks of the prompt: equal texts are one response."""
    orders = [_order_of(one) for one in ranked]
    for places, parts in _slices_of(ranked).items():
        votes = votes_of(orders[place] for place in places)
        said = _said(votes)
        if said:
            total, count = map(sum, zip(*said.values(), strict=True))
            found.add(Measure.PAIRS, "", parts, total, count)
        if (Slice.ALL, "") in parts:
            for who, (right, times) in said.items():
                found.add(Measure.PAIRS, "", _between(*who), right, times)
            for person, right in against_majority(votes):
                found.add(Measure.PAIRS, "", [(Slice.MAJORITY, person)], right)


def _order_of(one: Judged) -> Order:
    rank_of = ranks_of(one)
    return Order(one.by, {item.text: rank_of[item.id] for item in one.items}, one.day)


def _slices_of(ranked: Sequence[Judged]) -> dict[tuple[int, ...], list[Part]]:
    """The slices by what lies in them: mostly all of a prompt, so that it is counted once for all of them."""
    places: dict[Part, list[int]] = {}
    for place, one in enumerate(ranked):
        for part in parts_of(one, criterion_of(one)):
            places.setdefault(part, []).append(place)
    found: dict[tuple[int, ...], list[Part]] = {}
    for part, those in places.items():
        found.setdefault(tuple(those), []).append(part)
    return found


def _said(votes: Iterable[list[PairVote]]) -> dict[tuple[str, str, str], tuple[float, int]]:
    """(right, times) by who said it of whom on which day."""
    found: dict[tuple[str, str, str], tuple[float, int]] = {}
    for said in predictions(votes):
        key = said.by, said.of, said.day
        right, times = found.get(key, (0.0, 0))
        found[key] = right + said.right, times + 1
    return found


def _between(one: str, other: str, day: str) -> list[Part]:
    return [(Slice.PAIR, pair_of(one, other)), (Slice.PERSON, one), (Slice.PERSON, other), (Slice.DAY, day)]


def _add_orders(found: Contribution, task: Sequence[Judged]) -> None:
    """Kendall's correlations of those who ranked one task."""
    parts = parts_of(task[0], criterion_of(task[0]))
    ranks = {one.by: [ranks_of(one)[item.id] for item in one.items] for one in task}
    for one, other in combinations(task, 2):
        tau = kendall.tau_b(ranks[one.by], ranks[other.by])
        if tau is not None:
            found.add(Measure.TAU, "", [*parts, *_between(one.by, other.by, max(one.day, other.day))], tau)
    concordance = kendall.w(list(ranks.values()))
    if concordance is not None:
        found.add(Measure.W, "", [*parts, (Slice.DAY, max(one.day for one in task))], concordance)


def _add_wins(found: Contribution, task: Sequence[Judged]) -> None:
    """Whose responses each person preferred."""
    pairs = pairs_of(task[0])
    for one in task:
        rank_of = ranks_of(one)
        for first, second, key in pairs:
            gap = rank_of[second] - rank_of[first]
            found.wins.setdefault(key, [0, 0, 0])[0 if gap > 0 else 1 if gap < 0 else 2] += 1


def _add_unit(found: Contribution, task: Judged, unit: Unit) -> None:
    """What several people said of one thing."""
    day = max(given.day for given in unit.given)
    whole = [*parts_of(task, criterion_of(task, unit.criterion)), (Slice.DAY, day)]
    found.add(Measure.ITEMS, unit.subject, whole, 1.0)
    for one, other in combinations(unit.given, 2):
        same = float(one.value == other.value)
        people = (Slice.PAIR, pair_of(one.by, other.by))
        found.add(Measure.SAME, unit.subject, whole, same)
        found.add(Measure.SAME, unit.subject, [people, (Slice.PERSON, one.by), (Slice.PERSON, other.by)], same)
        found.add(Measure.ITEMS, unit.subject, [people], 1.0)
    for mine, theirs in permutations(unit.given, 2):
        for name, value in whole:
            key = ValueKey(unit.subject, name, value, mine.value, theirs.value)
            found.values[key] += 1 / (len(unit.given) - 1)
        found.values[ValueKey(unit.subject, Slice.PAIR, pair_of(mine.by, theirs.by), mine.value, theirs.value)] += 1
    for given in unit.given:
        if (most := unit.majority_without(given)) is not None:
            right = float(given.value == most)
            found.add(Measure.SAME, unit.subject, [(Slice.MAJORITY, given.by)], right)
