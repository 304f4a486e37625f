"""HH: two whole dialogues, each in one text, that share all but the last answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, best_first
from annotation_api.datasets.values import Refused, Row, as_text, prompt_of, text

_TURN = re.compile(r"\n\n(Human|Assistant):")
_CLOSE = re.compile(r"\nAssistant:")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_MARK = r"'\n\nHuman: ...\n\nAssistant: ...'"


def ranking(row: Row) -> Made:
    """`chosen` and `rejected` are whole dialogues that share all but the last answer."""
    prompt, chosen, rejected = _parts(row)
    yield from best_first(prompt, (as_text(chosen, "chosen"), as_text(rejected, "rejected")), "rejected")


def prompt(row: Row) -> Iterator[Prompt]:
    yield _parts(row)[0]


def _parts(row: Row) -> tuple[Prompt, str, str]:
    chosen, chosen_answer = _dialogue(text(row, "chosen"), "chosen")
    rejected, rejected_answer = _dialogue(text(row, "rejected"), "rejected")
    if chosen != rejected:
        raise Refused(
            "rejected",
            Sentence(
                "parts-before-last", "parts from chosen before the last answer; both must share every turn but the last"
            ),
        )
    return prompt_of(chosen, "chosen"), chosen_answer, rejected_answer


def _dialogue(value: str, field: str) -> tuple[list[Message], str]:
    """The turns before the last answer, and that answer; blanks around a turn are the marks', not the text's."""
    before, *parts = _TURN.split("\n\n" + value.replace("\r\n", "\n").lstrip("\n"))
    turns = list(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    if before.strip() or not turns:
        raise Refused(field, Sentence("dialogue-such-as", "must be a dialogue such as %(mark)s", mark=_MARK))
    if len(turns) == 1 and _CLOSE.search(turns[0][1]):
        raise Refused(
            field,
            Sentence(
                "no-empty-line",
                "has no empty line before 'Assistant:', so its turns cannot be told; as in %(mark)s",
                mark=_MARK,
            ),
        )
    if turns[-1][0] != "Assistant":
        raise Refused(
            field, Sentence("ends-with-human", "must end with the assistant's answer, it ends with the human's turn")
        )
    return [Message(role=_SPEAKERS[who], content=said) for who, said in turns[:-1]], turns[-1][1]  # type: ignore[arg-type]
