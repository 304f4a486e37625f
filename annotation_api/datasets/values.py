"""Reading fields out of untrusted rows: each helper returns a checked value or says what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence

Row = Mapping[str, Any]

ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "claude": "assistant",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
}
CALL_ROLES = frozenset({"function_call", "tool_call"})  # ShareGPT: the role of a turn whose text is the call
RESULT_ROLES = frozenset({"tool", "function", "observation", "function_response"})
NO_TOOLS = Sentence(
    "turn-of-tool", "is a turn of a tool, and this layout keeps the turns of system, user and assistant only"
)
TEXT_PARTS = (None, "text", "input_text", "output_text")  # what a model thought is of another type
CALLS_A_TOOL = Sentence("calls-a-tool", "calls a tool, and only texts can be kept here")
TRUTHS: dict[object, bool] = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}
JSON_NAMES = {
    dict: "an object",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    type(None): "null",
}


class Refused(Exception):
    """A row cannot be used. `field` is a path such as `conversations[2].value`, empty for the whole row.

    `source` holds the bytes of a row that could not be parsed.
    """

    def __init__(self, field: str, message: str, source: bytes = b"") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.message, self.source = field, message, source


class Unreadable(Exception):
    """The file cannot be read further. `row` is where reading stopped (0: before the first row)."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(f"row {row}: {message}" if row else message)
        self.row, self.message = row, message


@dataclass(frozen=True)
class Note:
    """Something a reader did with a row that a person should know; counted, never an error."""

    text: Sentence


def show(value: object) -> str:
    """The value and its JSON type, short enough for one line."""
    kind = JSON_NAMES.get(dict if isinstance(value, dict) else type(value), type(value).__name__)
    if value is None or isinstance(value, dict | list):
        return kind
    return f"{kind} ({json.dumps(value, ensure_ascii=False)[:60]})"


def first_of(row: Row, names: tuple[str, ...]) -> str:
    """The first of `names` that the row has with a value; refused when it has none."""
    for name in names:
        if row.get(name) is not None:
            return name
    present = ", ".join(list(row)[:12]) or "none"
    raise Refused(
        names[0],
        Sentence(
            "missing-one-of",
            "missing; one of %(names)s must hold a value. Fields of this row: %(present)s",
            names=", ".join(names),
            present=present,
        ),
    )


def as_text(value: object, field: str) -> str:
    """Text with something in it."""
    if value is None:
        raise Refused(field, Sentence("missing-text", "is missing; it must hold text"))
    if not isinstance(value, str):
        raise Refused(field, Sentence("must-be-text", "must be text, it is %(value)s", value=show(value)))
    if not value.strip():
        raise Refused(field, Sentence("is-empty", "is empty; put the text here or leave the row out"))
    return value


def text(row: Row, *names: str) -> str:
    name = first_of(row, names)
    return as_text(row[name], name)


def optional_text(row: Row, *names: str) -> str:
    """The text under the first name that is present, or an empty text."""
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Refused(
                name, Sentence("text-or-left-out-value", "must be text or left out, it is %(value)s", value=show(value))
            )
        return value
    return ""


def as_number(value: object, field: str) -> float:
    """A finite number, also when a CSV cell holds it as text."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise Refused(
            field, Sentence("must-be-number", "must be a number, it is %(value)s", value=show(value))
        ) from None
    if not math.isfinite(number):
        raise Refused(field, Sentence("must-be-finite", "must be a finite number, it is %(value)s", value=value))
    return number


def as_list(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(field, Sentence("must-be-list", "must be a list, it is %(value)s", value=show(value)))
    return value


def as_object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(field, Sentence("must-be-object", "must be an object, it is %(value)s", value=show(value)))
    return value


def truth(row: Row, name: str) -> bool:
    """A boolean, also as 1 or 0, and when a CSV cell holds it as text."""
    value = row.get(name)
    found = TRUTHS.get(value.strip().lower() if isinstance(value, str) else value) if is_scalar(value) else None
    if found is None:
        raise Refused(
            name, Sentence("true-or-false", "must be true or false (or 1 or 0), it is %(value)s", value=show(value))
        )
    return found


def is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def message(turn: object, field: str) -> Message:
    """One turn, as `{"role", "content"}` or as ShareGPT's `{"from", "value"}`, in any letter case."""
    fields, name, said = role_of(turn, field)
    if said in CALL_ROLES | RESULT_ROLES:
        raise Refused(f"{field}.{name}", NO_TOOLS)
    if fields.get("tool_calls") or fields.get("function_call"):
        raise Refused(field, CALLS_A_TOOL)
    return plain_message(fields, name, field)


def role_of(turn: object, field: str) -> tuple[dict[str, Any], str, str]:
    """The turn's fields by their names in lower case, the one that holds its role, and the role as it stands there."""
    fields = _lower(as_object(turn, field))
    name = next((name for name in ("from", "role", "author", "speaker", "sender") if name in fields), "role")
    value = fields.get(name)
    return fields, name, value.strip().lower() if isinstance(value, str) else ""


def plain_message(fields: dict[str, Any], role_name: str, field: str) -> Message:
    """A turn that says something, and nothing of tools."""
    role = speaker(fields.get(role_name), f"{field}.{role_name}")
    return Message(role=role, content=content_of(fields, field))  # type: ignore[arg-type]


def speaker(value: object, field: str) -> str:
    """Who speaks, by any of the names that files give: system, user or assistant."""
    said = value.strip().lower() if isinstance(value, str) else ""
    if said not in ROLES:
        raise Refused(
            field,
            Sentence(
                "one-of-roles", "must be one of %(roles)s, it is %(value)s", roles=", ".join(ROLES), value=show(value)
            ),
        )
    return ROLES[said]


def _lower(fields: dict[str, Any]) -> dict[str, Any]:
    """The names in lower case, as far as none then stands twice."""
    if all(name.islower() or name == name.lower() for name in fields):
        return fields
    lower = {name.lower(): fields[name] for name in fields}
    return lower if len(lower) == len(fields) else fields


def content_of(fields: dict[str, Any], field: str, *, empty: bool = False) -> str:
    """What the turn says; `empty`: it may say nothing."""
    name = next((name for name in ("content", "value", "text") if fields.get(name) is not None), "content")
    if empty and not fields.get(name):
        return ""
    return _content(fields.get(name), f"{field}.{name}", empty=empty)


def _content(value: object, field: str, *, empty: bool) -> str:
    """Text, or the parts of OpenAI's messages, which must be text."""
    if not isinstance(value, list):
        return value if empty and isinstance(value, str) else as_text(value, field)
    parts = [as_object(part, f"{field}[{i}]") for i, part in enumerate(value)]
    for i, part in enumerate(parts):
        if not isinstance(part.get("text"), str) or part.get("type") not in TEXT_PARTS:
            raise Refused(
                f"{field}[{i}]",
                Sentence("is-no-text", "is no text (%(kind)s); only text can be learnt", kind=show(part.get("type"))),
            )
    joined = "".join(part["text"] for part in parts)
    return joined if empty else as_text(joined, field)


def is_empty_system(turn: object) -> bool:
    """A system message without words says nothing: many files have one in every chat."""
    return isinstance(turn, dict) and turn.get("role") == "system" and turn.get("content") in (None, "")


def messages(value: object, field: str, read: Callable[[object, str], Message] = message) -> list[Message]:
    """A whole conversation: a system message only first, at least one turn."""
    turns = [read(turn, f"{field}[{i}]") for i, turn in enumerate(as_list(value, field)) if not is_empty_system(turn)]
    if not turns:
        raise Refused(field, Sentence("no-turn-of-user", "holds no turn; at least one message of the user is needed"))
    for i, turn in enumerate(turns):
        if turn.role == "system" and i > 0:
            raise Refused(f"{field}[{i}]", Sentence("system-first", "a system message may only come first"))
    return turns


def prompt_of(turns: list[Message], field: str, **fields: Any) -> Prompt:
    """The turns as a prompt; the last one must be the user's, or the result of a tool."""
    if not turns:
        raise Refused(
            field,
            Sentence("no-turn-before", "holds no turn before the response; at least one message of the user is needed"),
        )
    if turns[-1].role not in ("user", "tool"):
        raise Refused(
            field,
            Sentence(
                "before-not-user",
                "the turn before the response must be the user's, it is the %(role)s's",
                role=turns[-1].role,
            ),
        )
    return Prompt(messages=tuple(turns), **fields)
