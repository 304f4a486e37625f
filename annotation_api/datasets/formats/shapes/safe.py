"""Two responses of which one is said to be safer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from alignment.shared.records import Ranking
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.serialised import prompt_from
from annotation_api.datasets.formats.shapes.judged import PairJudged, as_ranking
from annotation_api.datasets.values import Note, Refused, Row, as_number, text

_SAFE: tuple[tuple[str, Literal["helpful", "harmless"]], ...] = (
    ("better_response_id", "helpful"),
    ("safer_response_id", "harmless"),
)


def is_safe_pair(row: Row) -> bool:
    pair = all(row.get(name) is not None for name in ("response_0", "response_1"))
    return pair and any(row.get(name) is not None for name, _ in _SAFE)


def safe_ranking(row: Row) -> Iterator[Ranking | Note]:
    """Judgements of one pair: which is better, which is safer, or both."""
    sides = (text(row, "response_0"), text(row, "response_1"))
    for name, criterion in _SAFE:
        if row.get(name) is None:
            continue
        best = as_number(row.get(name), name)
        if best not in (0, 1):
            raise Refused(name, Sentence("zero-or-one-best", "must be 0 or 1, it is %(best)s", best=f"{best:g}"))
        said = PairJudged(1.0 if best == 0 else -1.0)
        yield from as_ranking(prompt_from(row.get("prompt"), "prompt"), sides, said, name, criterion=criterion)
