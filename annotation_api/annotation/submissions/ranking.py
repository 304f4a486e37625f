"""Whether a ranking is an order of exactly a task's responses. Pure: ids and texts in, problems out."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem

GROUPS = "/payload/groups"


def problems_of(
    groups: Sequence[Sequence[uuid.UUID]], texts: Mapping[uuid.UUID, str], at: str = GROUPS
) -> list[Problem]:
    """What is wrong with `groups`, which stand at a pointer: unknown, repeated, missing responses, empty groups, untied
    twins."""
    rank: dict[uuid.UUID, int] = {}
    problems = []
    for i, group in enumerate(groups):
        if not group:
            problems.append(
                Problem(pointer=f"{at}/{i}", message=Sentence("group-empty", "This group is empty; leave it out."))
            )
        for j, key in enumerate(group):
            fault = _fault(key, texts, rank)
            if fault:
                problems.append(Problem(pointer=f"{at}/{i}/{j}", message=fault, value=str(key)))
            rank.setdefault(key, i)
    missing = [str(key) for key in texts if key not in rank]
    if missing:
        problems.append(
            Problem(
                pointer=at,
                message=Sentence("not-ranked-yet", "Not ranked yet: %(missing)s.", missing=", ".join(missing)),
            )
        )
    return problems or _untied(rank, texts, at)


def _fault(key: uuid.UUID, texts: Mapping[uuid.UUID, str], rank: Mapping[uuid.UUID, int]) -> str | None:
    if key not in texts:
        return "This response does not belong to the task."
    return "This response stands in the ranking twice." if key in rank else None


def _untied(rank: Mapping[uuid.UUID, int], texts: Mapping[uuid.UUID, str], at: str) -> list[Problem]:
    """Identical texts at different ranks would teach a reward model noise."""
    same: dict[str, list[uuid.UUID]] = defaultdict(list)
    for key, text in texts.items():
        same[text].append(key)
    return [
        Problem(
            pointer=at,
            message=Sentence(
                "identical-must-tie",
                "These responses are identical and must be tied: %(ids)s.",
                ids=", ".join(map(str, keys)),
            ),
        )
        for keys in same.values()
        if len({rank[key] for key in keys}) > 1
    ]
