"""How far a person agrees with those who know what is wanted, as InstructGPT chose its labelers. Pure.

Ouyang et al. 2022 (appendix B.1) had researchers rank, too, and took on those whose rankings agreed with theirs. Here
a reviewer's decision and the expected order of a gold item are the researchers' word: the share of pairs of responses
that they set apart and that the person sets apart in the same way, a tie counting half; of questions and rules the
share of the same answers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from alignment.shared.intervals import interval95
from annotation_api.annotation.signals.given import GivenAnswer

Word = Mapping[str, Any]  # of a decision or a gold item: {"groups": ...}, {"answers": ...} or {"verdicts": ...}


class ResearcherAgreement(BaseModel):
    """Agreement with decisions and gold items."""

    agreement: float
    agreement_ci95: tuple[float, float] = Field(description="A task is one observation.")
    tasks: int


def agrees_with(own: Sequence[GivenAnswer], words: Mapping[str, Word]) -> ResearcherAgreement | None:
    """Of one person's answers with the words by task; None where there is nothing to compare."""
    compared = [_compare(answer, words[key]) for answer in own if (key := str(answer.task)) in words]
    found = [(same, of) for same, of in compared if of]
    if not found:
        return None
    same, of = [one for one, _ in found], [one for _, one in found]
    return ResearcherAgreement(agreement=sum(same) / sum(of), agreement_ci95=interval95(same, of), tasks=len(found))


def _compare(answer: GivenAnswer, word: Word) -> tuple[float, float]:
    """What is the same, of how much."""
    if "groups" in word:
        return _orders(answer, word["groups"]) if answer.ranks else (0.0, 0.0)
    wanted: Mapping[str, Any] = word.get("answers") or word.get("verdicts") or {}
    given = json.loads(answer.meant or "{}")
    return float(sum(given.get(key) == value for key, value in wanted.items())), float(len(wanted))


def _orders(answer: GivenAnswer, groups: Sequence[Sequence[str]]) -> tuple[float, float]:
    pairs = [
        (str(better), str(worse))
        for above, below in itertools.combinations(groups, 2)
        for better, worse in itertools.product(above, below)
    ]
    rank = answer.rank_of
    return sum(1.0 if rank[a] < rank[b] else 0.5 if rank[a] == rank[b] else 0.0 for a, b in pairs), float(len(pairs))
