"""One response with a thumb up or down: KTO's `label`, as a flag, a number or a word."""

from __future__ import annotations

from collections.abc import Iterator

from alignment.shared.records import Demonstration, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.shapes import sides
from annotation_api.datasets.formats.shapes.chats import (
    alpaca_demonstration,
    alpaca_prompt,
    chat_demonstration,
    chat_prompt,
    is_chat_row,
)
from annotation_api.datasets.values import TRUTHS, Note, Refused, Row, first_of, truth

THUMB = ("label", "kto_tag")
THUMBS = {  # beside what `truth` reads
    **dict.fromkeys(
        ("thumbs_up", "up", "good", "like", "liked", "desirable", "positive", "yes", "是", "好", "赞", "点赞"), True
    ),
    **dict.fromkeys(
        (
            "thumbs_down",
            "down",
            "bad",
            "dislike",
            "disliked",
            "undesirable",
            "negative",
            "no",
            "否",
            "差",
            "踩",
            "点踩",
        ),
        False,
    ),
}


def demonstration(row: Row) -> Iterator[Demonstration | Note]:
    name = first_of(row, THUMB)
    if not _thumb(row, name):
        raise Refused(
            name, Sentence("disliked", "is false: a response that was disliked is no demonstration; leave the row out")
        )
    yield from chat_demonstration(row) if is_chat_row(row) else alpaca_demonstration(row)


def prompt(row: Row) -> Iterator[Prompt]:
    yield from chat_prompt(row) if is_chat_row(row) else alpaca_prompt(row)


def speaks(row: Row) -> bool:
    """Whether the row says yes or no of its response, and not some other label, or which of two is better."""
    if sides.columns(row):
        return False
    value = next((row[name] for name in THUMB if row.get(name) is not None), None)
    return value in (True, False, -1) if not isinstance(value, str) else value.strip().lower() in (*THUMBS, *TRUTHS)


def _thumb(row: Row, name: str) -> bool:
    value = row[name]
    if isinstance(value, str) and value.strip().lower() in THUMBS:
        return THUMBS[value.strip().lower()]
    return value != -1 and truth(row, name)
