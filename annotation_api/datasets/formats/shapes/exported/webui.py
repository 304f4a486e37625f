"""Open WebUI's feedback export: a thumb or an arena choice on a message of a chat, with its siblings beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.values import Note, Refused, Row, as_number, as_object, as_text, message, prompt_of

ALONE = Note(
    Sentence(
        "note-thumbs-on-answer-without",
        "thumbs on an answer without another one beside it were left out: they compare nothing",
    )
)
NO_THUMB = Note(Sentence("note-feedback-without-thumb-was", "feedback without a thumb was left out"))
DISLIKED = Note(Sentence("note-answers-with-thumb-down", "answers with a thumb down were left out"))


def speaks(row: Row) -> bool:
    data, snapshot = row.get("data"), row.get("snapshot")
    return isinstance(data, dict) and "rating" in data and isinstance(snapshot, dict) and "chat" in snapshot


def ranking(row: Row) -> Made:
    """A thumb up: the message is better than each sibling. A thumb down: each sibling is better."""
    thumb = _thumb(row)
    if thumb is None:
        yield NO_THUMB
        return
    node, messages = _rated(row)
    others = [messages[key] for key in _siblings(node, messages) if key != node["id"]]
    texts = [as_text(item.get("content"), "snapshot.chat.content") for item in (node, *others)]
    if len(texts) < 2:
        yield ALONE
        return
    scores = [thumb, *[0.0] * len(others)]
    who = row.get("user_id")
    yield from by_scores(_prompt(node, messages), texts, scores, "data.rating", annotator=str(who) if who else None)


def demonstration(row: Row) -> Iterator[Demonstration | Note]:
    thumb = _thumb(row)
    if thumb is None or thumb < 0:
        yield NO_THUMB if thumb is None else DISLIKED
        return
    node, messages = _rated(row)
    yield Demonstration(prompt=_prompt(node, messages), response=as_text(node.get("content"), "content"))


def prompt(row: Row) -> Iterator[Prompt]:
    yield _prompt(*_rated(row))


def _thumb(row: Row) -> float | None:
    value = as_object(row.get("data"), "data").get("rating")
    if value is None:
        return None
    found = as_number(value, "data.rating")
    if found not in (1, -1):
        raise Refused(
            "data.rating",
            Sentence("one-or-minus-one", "must be 1 (better) or -1 (worse), it is %(found)s", found=f"{found:g}"),
        )
    return found


def _rated(row: Row) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The message that was judged, and all messages of its chat by id."""
    chat = as_object(
        as_object(as_object(row.get("snapshot"), "snapshot").get("chat"), "snapshot.chat").get("chat"), "chat"
    )
    history = as_object(as_object(chat.get("history"), "history").get("messages"), "history.messages")
    messages = {str(key): as_object(value, f"history.messages.{key}") for key, value in history.items()}
    key = str(as_object(row.get("meta"), "meta").get("message_id"))
    if key not in messages:
        raise Refused("meta.message_id", Sentence("names-no-message", "names no message of the chat"))
    return {**messages[key], "id": key}, messages


def _siblings(node: dict[str, Any], messages: dict[str, dict[str, Any]]) -> list[str]:
    parent = messages.get(str(node.get("parentId")))
    return [str(key) for key in (parent or {}).get("childrenIds") or [] if str(key) in messages]


def _prompt(node: dict[str, Any], messages: dict[str, dict[str, Any]]) -> Prompt:
    """The turns above the message."""
    turns: list[Message] = []
    seen: set[str] = set()
    key = str(node.get("parentId"))
    while key in messages and key not in seen:
        seen.add(key)
        turns.insert(0, message(messages[key], f"history.messages.{key}"))
        key = str(messages[key].get("parentId"))
    return prompt_of(turns, "history.messages")
