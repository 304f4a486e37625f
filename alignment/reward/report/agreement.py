"""How far annotators agree: the human ceiling of a reward model, and who disagrees with the rest.

What counts as agreement is said in `alignment.shared.judges.orders`, with which the desk counts, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alignment.reward.report.accuracy import IntervalEstimate, clustered
from alignment.shared.judges import orders as shared
from alignment.shared.records import Ranking

FEWEST = 20  # predictions below which nothing is said of an annotator
MARGIN = 0.1  # an annotator is flagged who lies this far below the rest, and below their interval with the own


@dataclass(frozen=True)
class LabelledPrediction:
    """What one annotator says about another's preference."""

    prompt: str
    by: str
    of: str
    right: float  # 1 agrees, 0 contradicts, half where `by` tied the two


@dataclass(frozen=True)
class AnnotatorAgreement:
    """One annotator beside the others."""

    name: str
    agreement: IntervalEstimate  # with the others, where both judged
    rest: IntervalEstimate  # how the others agree with one another
    flagged: bool
    kind: str  # "in line", "careless" (near a coin), "contrary" (below a coin), "apart" (between)


@dataclass(frozen=True)
class Agreement:
    """The human ceiling; None where nobody judged what another did."""

    ceiling: IntervalEstimate | None
    without_flagged: IntervalEstimate | None  # the same among those who are in line; None where all are, or too few
    people: tuple[AnnotatorAgreement, ...]

    @property
    def reachable(self) -> float | None:
        """The accuracy of a perfect model on such labels, were all annotators wrong equally often: with p = the
        share in which one is right, two agree in p^2 + (1 - p)^2."""
        if self.ceiling is None:
            return None
        return (1 + math.sqrt(max(0.0, 2 * self.ceiling.value - 1))) / 2


def measure_agreement(rankings: Sequence[Ranking]) -> Agreement:
    """Of all annotators over all rankings. Unnamed annotators count for the ceiling, each ranking as another person.

    Who disagrees most is set aside first, and the next is looked for among those who are left: beside a
    contrary annotator a careless one would not stand out.
    """
    found = list(predictions(rankings))
    aside: list[AnnotatorAgreement] = []
    left = found
    while (worst := _worst(left)) is not None:
        aside.append(worst)
        left = [p for p in left if worst.name not in (p.by, p.of)]
    in_line = [person for name in _names(left) if (person := _person(name, left)) is not None]
    return Agreement(_mean(found), _mean(left) if aside else None, (*aside, *in_line))


def predictions(rankings: Iterable[Ranking]) -> Iterator[LabelledPrediction]:
    """Every pair of annotators on every two responses that both judged, from both sides."""
    for (prompt, _), orders in _orders(rankings).items():
        for said in shared.predictions(shared.votes_of(orders)):
            yield LabelledPrediction(prompt, said.by, said.of, said.right)


UNNAMED = "\0"  # begins the name of who has none; no pseudonym does


def _orders(rankings: Iterable[Ranking]) -> dict[tuple[str, str], list[shared.Order]]:
    """By prompt and criterion, for orders by one say nothing of those by another; a response is named by its text."""
    found: dict[tuple[str, str], list[shared.Order]] = {}
    for number, ranking in enumerate(_once(rankings)):
        who = ranking.annotator or f"{UNNAMED}{number}"
        ranks = dict(zip(ranking.responses, ranking.ranks, strict=True))
        found.setdefault((ranking.prompt.key, _criterion(ranking)), []).append(shared.Order(who, ranks))
    return found


def _once(rankings: Iterable[Ranking]) -> Iterator[Ranking]:
    """One order of a judgement by a criterion: older snapshots hold a second one, ranked apart, of the prompt's own."""
    whole: dict[str, str] = {}
    for ranking in rankings:
        source = ranking.lineage.get("submission") or ranking.lineage.get("decision", "")
        order = ranking.lineage.get("order")
        if order is None:
            whole[source] = _criterion(ranking)
        if not source or order is None or whole.get(source) != order:
            yield ranking


def _criterion(ranking: Ranking) -> str:
    return ranking.criterion or ranking.prompt.criterion or ""


def _mean(found: Sequence[LabelledPrediction]) -> IntervalEstimate | None:
    return clustered([(p.prompt, p.right) for p in found]) if found else None


def _names(found: Sequence[LabelledPrediction]) -> list[str]:
    return sorted({p.by for p in found if not p.by.startswith(UNNAMED)})


def _worst(found: Sequence[LabelledPrediction]) -> AnnotatorAgreement | None:
    """Of those who are to be flagged, the one who agrees least with the others."""
    beside = sorted((_beside(name, found) for name in _names(found)), key=lambda entry: entry.value)
    apart = (entry for entry in beside if entry.enough and entry.value <= entry.rest - MARGIN)
    people = (_person(entry.name, found) for entry in apart)
    return next((person for person in people if person is not None and person.flagged), None)


class _Beside(NamedTuple):
    """One annotator's agreement with the others and theirs among themselves, without intervals."""

    name: str
    value: float
    rest: float
    enough: bool


def _beside(name: str, found: Sequence[LabelledPrediction]) -> _Beside:
    own = [p.right for p in found if name in (p.by, p.of)]
    others = [p.right for p in found if name not in (p.by, p.of)]
    enough = len(own) >= FEWEST and len(others) >= FEWEST
    return _Beside(name, sum(own) / max(len(own), 1), sum(others) / max(len(others), 1), enough)


def _person(name: str, found: Sequence[LabelledPrediction]) -> AnnotatorAgreement | None:
    """None where too little is known, or where there are no others to compare with."""
    if not _beside(name, found).enough:
        return None
    agreement = clustered([(p.prompt, p.right) for p in found if name in (p.by, p.of)])
    rest = clustered([(p.prompt, p.right) for p in found if name not in (p.by, p.of)])
    flagged = agreement.high < rest.low and agreement.value <= rest.value - MARGIN
    return AnnotatorAgreement(name, agreement, rest, flagged, _kind(agreement) if flagged else "in line")


def _kind(agreement: IntervalEstimate) -> str:
    if agreement.high < 0.5:
        return "contrary"
    return "careless" if agreement.low <= 0.55 else "apart"
