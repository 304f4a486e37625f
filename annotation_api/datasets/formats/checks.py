"""What is looked at in every record, whatever layout it came in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from alignment.shared.records import Candidates, Demonstration, Message, Prompt, Ranking, Record
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.serialised import is_chat
from annotation_api.datasets.values import Note, Refused

STOPPED = re.compile(r"(?:</s>|<\|(?:endoftext|im_end|eot_id|end_of_text)\|>|<eos>|<end_of_turn>)\s*\Z")
STOP_TOKEN = Note(
    Sentence("note-responses-end-with-stop", "responses that end with a stop token as text, such as </s>")
)
STARTS_WITH_ASSISTANT = Note(Sentence("note-chats-start-with-assistant", "chats that start with the assistant"))
TWICE = Note(Sentence("note-chats-one-side-speaks", "chats in which one side speaks twice in a row"))


def notes_on(record: Record) -> Iterator[Note]:
    """What a person should know. Refused when a text holds a whole chat that was not taken apart."""
    prompt, responses = _parts(record)
    _refuse_written_chats(prompt.messages, responses)
    speakers = [turn.role for turn in prompt.messages if turn.role not in ("system", "tool")]
    if speakers[0] == "assistant":
        yield STARTS_WITH_ASSISTANT
    if any(one == other for one, other in pairwise(speakers)):
        yield TWICE
    if any(STOPPED.search(text) for text in responses):
        yield STOP_TOKEN


def _parts(record: Record) -> tuple[Prompt, tuple[str, ...]]:
    if isinstance(record, Ranking | Candidates):
        return record.prompt, record.responses
    if isinstance(record, Demonstration):
        return record.prompt, (record.response,)
    assert isinstance(record, Prompt)
    return record, ()


def _refuse_written_chats(turns: tuple[Message, ...], responses: tuple[str, ...]) -> None:
    alone = [turns[0].content] if len(turns) == 1 else []
    if any(is_chat(text) for text in (*alone, *responses)):
        raise Refused(
            "",
            Sentence(
                "chat-as-text",
                "holds a whole chat as one text; save its turns as a list of messages with role and content",
            ),
        )
