"""Building a Ranking from what files hold: an order, scores, or a winner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alignment.shared.records import MAX_RESPONSES, Prompt, Ranking
from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Note, Refused

IDENTICAL = Note(
    Sentence(
        "note-identical-answers-stood-next",
        "identical answers that stood next to one another in the order were taken as a tie",
    )
)
ALL_TIED = Note(
    Sentence("note-rankings-every-answer-tied", "rankings in which every answer is tied: they hold no comparison")
)

Made = Iterator[Ranking | Note]
Groups = tuple[tuple[int, ...], ...]


def by_scores(prompt: Prompt, responses: Sequence[str], scores: Sequence[float], field: str, **fields: Any) -> Made:
    """Highest score first; equal scores are a tie."""
    order = sorted(set(scores), reverse=True)
    groups = tuple(tuple(i for i, score in enumerate(scores) if score == step) for step in order)
    yield from by_groups(prompt, responses, groups, field, **fields)


def best_first(prompt: Prompt, responses: Sequence[str], field: str, **fields: Any) -> Made:
    yield from by_groups(prompt, responses, tuple((i,) for i in range(len(responses))), field, **fields)


def by_groups(prompt: Prompt, responses: Sequence[str], groups: Groups, field: str, **fields: Any) -> Made:
    """The ranking, with neighbouring groups of one and the same text merged into a tie.

    Refused when the same text stands at two ranks with others between them.
    """
    if not 2 <= len(responses) <= MAX_RESPONSES:
        raise Refused(
            field,
            Sentence(
                "ranking-answers",
                "holds %(responses)s answers; a ranking needs 2 to %(max_responses)s",
                responses=len(responses),
                max_responses=MAX_RESPONSES,
            ),
        )
    merged = _merge_identical(responses, groups)
    if len(merged) < len(groups):
        yield IDENTICAL
    if len(merged) == 1:
        yield ALL_TIED
    yield Ranking(prompt=prompt, responses=tuple(responses), groups=merged, **fields)


def _merge_identical(responses: Sequence[str], groups: Groups) -> Groups:
    merged: list[tuple[int, ...]] = []
    for group in groups:
        if merged and {responses[i] for i in merged[-1]} == {responses[i] for i in group}:
            merged[-1] += group
        else:
            merged.append(group)
    return tuple(merged)
