"""What people who judged the same responses say of one another: the one formula of agreement on pairs.

The reward stage's human ceiling and the desk's agreement page count with it. Two people can be compared where both
judged the same two responses to the same prompt. As for a model, only strict preferences count as labels: one person
is asked to predict another's, and a tie counts half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import NamedTuple, TypeVar

C = TypeVar("C", bound=str)
T = TypeVar("T")


def besides(own: str | None, apart: Mapping[C, T]) -> list[tuple[C, T]]:
    """(criterion, order) of the orders that were given apart from the whole, which is by the criterion `own`. One apart
    by that very criterion is left out: a person has one order by each, and the whole is it."""
    return sorted((criterion, order) for criterion, order in apart.items() if criterion != own)


@dataclass(frozen=True)
class Order:
    """One person's order of some responses to a prompt; `ranks` by what names a response, 0 = best, equal for ties."""

    by: str
    ranks: Mapping[str, int]
    day: str = ""  # on which it was given, as ISO 8601


class Prediction(NamedTuple):
    """What one person says about another's preference."""

    by: str
    of: str
    right: float  # 1 agrees, 0 contradicts, half where `by` tied the two
    day: str  # of the later of the two orders


class PairVote(NamedTuple):
    """What one person says of two responses."""

    by: str
    side: int  # 1 the first is better, -1 the second, 0 a tie
    day: str


def votes_of(orders: Iterable[Order]) -> list[list[PairVote]]:
    """The votes on each two responses of one prompt, from all its orders."""
    found: dict[tuple[str, str], list[PairVote]] = {}
    for order in orders:
        for first, second in combinations(sorted(order.ranks), 2):
            gap = order.ranks[second] - order.ranks[first]
            found.setdefault((first, second), []).append(PairVote(order.by, (gap > 0) - (gap < 0), order.day))
    return list(found.values())


def predictions(votes: Iterable[list[PairVote]]) -> Iterator[Prediction]:
    """Every two people on every two responses that both judged, from both sides."""
    for on_pair in votes:
        for one, other in permutations(on_pair, 2):
            if one.by != other.by and other.side:
                yield Prediction(one.by, other.by, _right(one.side, other.side), max(one.day, other.day))


def against_majority(votes: Iterable[list[PairVote]]) -> Iterator[tuple[str, float]]:
    """(person, right) for each vote on a pair on which two others or more are of one mind by majority."""
    for on_pair in votes:
        for vote in on_pair:
            others = [other.side for other in on_pair if other.by != vote.by]
            leaning = others.count(1) - others.count(-1)
            if len(others) >= 2 and leaning:
                yield vote.by, _right(vote.side, 1 if leaning > 0 else -1)


def _right(said: int, meant: int) -> float:
    return 0.5 if not said else float(said == meant)
