"""Two outputs and a grade or a vote that says which is better."""

from __future__ import annotations

from collections.abc import Iterator

from alignment.shared.records import Ranking
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.shapes.chats import instruction
from annotation_api.datasets.values import Note, Refused, Row, as_number, optional_text, text


def alpaca_eval_ranking(row: Row) -> Made:
    """`preference` runs from 1 (`output_1` is better) to 2 (`output_2` is better); 1.5 is a tie."""
    grade = as_number(row.get("preference"), "preference")
    if not 1 <= grade <= 2:
        raise Refused(
            "preference",
            Sentence(
                "one-to-two",
                "must lie from 1 (output_1 is better) to 2 (output_2 is better), it is %(grade)s",
                grade=f"{grade:g}",
            ),
        )
    sides = (text(row, "output_1"), text(row, "output_2"))
    annotator = optional_text(row, "annotator") or None
    yield from by_scores(instruction(row), sides, (1.5 - grade, grade - 1.5), "preference", annotator=annotator)


def pandalm_ranking(row: Row) -> Made:
    """Each of `annotator1..3` is one person's ranking: 0 a tie, 1 or 2 the better response."""
    sides = (text(row, "response1"), text(row, "response2"))
    for name in ("annotator1", "annotator2", "annotator3"):
        vote = as_number(row.get(name), name)
        if vote not in (0, 1, 2):
            raise Refused(
                name,
                Sentence(
                    "zero-one-two",
                    "must be 0 (tie), 1 (response1 is better) or 2 (response2 is better), it is %(vote)s",
                    vote=f"{vote:g}",
                ),
            )
        scores = (float(vote == 1), float(vote == 2))
        yield from by_scores(instruction(row), sides, scores, name, annotator=name)


_TULU: dict[str, tuple[float, int | None]] = {  # a's score above b's; Llama-2's strength
    "a-is-better": (1, 3),
    "a-is-slightly-better": (1, 2),
    "tie": (0, None),
    "b-is-slightly-better": (-1, 2),
    "b-is-better": (-1, 3),
}


def tulu_ranking(row: Row) -> Iterator[Ranking | Note]:
    """Five-step judgements of `completion_a` against `completion_b`."""
    said = text(row, "preference")
    if said not in _TULU:
        raise Refused(
            "preference",
            Sentence("one-of-tulu", "must be one of %(tulu)s, it is %(said)s", tulu=", ".join(_TULU), said=f"{said!r}"),
        )
    score, strength = _TULU[said]
    sides = (text(row, "completion_a"), text(row, "completion_b"))
    annotator = optional_text(row, "evaluator") or None
    if sides[0] == sides[1]:
        strength = None
    yield from by_scores(instruction(row), sides, (score, 0.0), "preference", annotator=annotator, strength=strength)
