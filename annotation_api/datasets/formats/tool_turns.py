"""Chats with the turns of tools: OpenAI's messages, its older function calls, and ShareGPT's function_call.

Readers that can keep such turns ask for a `conversation`; all others ask `values.messages`, which refuses them by name.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alignment.shared.records import Demonstration, Message, Prompt
from alignment.shared.sentence import Sentence
from alignment.shared.turns.messages import ONLY_ASSISTANT, paired
from alignment.shared.turns.tools import ToolCall, ToolDefinition
from alignment.shared.validation import explain
from annotation_api.datasets.values import (
    CALL_ROLES,
    CALLS_A_TOOL,
    RESULT_ROLES,
    Refused,
    Row,
    as_list,
    as_object,
    content_of,
    is_empty_system,
    messages,
    optional_text,
    plain_message,
    role_of,
    show,
    speaker,
)

DEFINITIONS = ("tools", "functions")
_CALLS: TypeAdapter[tuple[ToolCall, ...]] = TypeAdapter(tuple[ToolCall, ...])
_DEFINITION: TypeAdapter[str] = TypeAdapter(ToolDefinition)


def conversation(value: object, field: str) -> list[Message]:
    """A whole chat, the turns of tools among them; every result must answer a call before it."""
    turns = messages(value, field, read=turn)
    places = [i for i, item in enumerate(as_list(value, field)) if not is_empty_system(item)]
    for fault in paired(turns, whole=False).faults[:1]:
        raise Refused(".".join(filter(None, [f"{field}[{places[fault.turn]}]", fault.field])), fault.why)
    return turns


def turn(value: object, field: str) -> Message:
    """One turn of anybody."""
    fields, name, said = role_of(value, field)
    if said in CALL_ROLES:
        return Message(role="assistant", content="", tool_calls=_written(content_of(fields, field), f"{field}.value"))
    if said in RESULT_ROLES:
        return _result(fields, field)
    calls = _calls(fields, field)
    if calls is None:
        return plain_message(fields, name, field)
    if speaker(fields.get(name), f"{field}.{name}") != "assistant":
        raise Refused(f"{field}.tool_calls", ONLY_ASSISTANT)
    return Message(
        role="assistant", content=content_of(fields, field, empty=True), tool_calls=_of(calls, f"{field}.tool_calls")
    )


def with_tools(row: Row, prompt: Prompt, place: str = "") -> Prompt:
    """The prompt with the tools that stand beside it in the row."""
    found = definitions(row, place)
    return prompt.model_copy(update={"tools": found}) if found else prompt


def definitions(row: Row, place: str = "") -> tuple[str, ...] | None:
    """The tools of a row, as a list or as the JSON text of one."""
    name = next((name for name in DEFINITIONS if row.get(name) not in (None, "", [])), None)
    if name is None:
        return None
    listed = as_list(_opened(row[name], place + name), place + name)
    return tuple(_definition(item, f"{place}{name}[{i}]") for i, item in enumerate(listed)) or None


def only_text(said: Message, field: str) -> str:
    """What the assistant says where only a text can be compared."""
    if said.tool_calls:
        raise Refused(field, CALLS_A_TOOL)
    return said.content


def demonstrated(prompt: Prompt, said: Message, **fields: Any) -> Demonstration:
    return Demonstration(prompt=prompt, response=said.content, tool_calls=said.tool_calls, **fields)


def _result(fields: dict[str, Any], field: str) -> Message:
    key, name = (optional_text(fields, each) or None for each in ("tool_call_id", "name"))
    return Message(role="tool", content=content_of(fields, field, empty=True), tool_call_id=key, name=name)


def _calls(fields: dict[str, Any], field: str) -> list[Any] | None:
    """OpenAI's tool_calls; the one call of its older function_call in their shape."""
    if fields.get("tool_calls"):
        return as_list(fields["tool_calls"], f"{field}.tool_calls")
    if fields.get("function_call"):
        return [{"function": as_object(fields["function_call"], f"{field}.function_call")}]
    return None


def _written(text: str, field: str) -> tuple[ToolCall, ...]:
    """ShareGPT: one call or a list of calls as JSON, each a name with arguments."""
    found = _opened(text, field)
    items = found if isinstance(found, list) else [found]
    return _of([{"function": as_object(item, field)} for item in items], field)


def _of(calls: list[Any], field: str) -> tuple[ToolCall, ...]:
    """The calls, checked; a function without arguments takes none."""
    plain = json.loads(json.dumps(calls))
    for call in plain:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and function.get("arguments") is None:
            function.pop("arguments", None)
        if isinstance(call, dict):
            call.pop("index", None)  # of streams
    try:
        return _CALLS.validate_python(tuple(plain))
    except ValidationError as error:
        raise _refused(error, field, tuple[ToolCall, ...]) from None


def _definition(item: object, field: str) -> str:
    try:
        return _DEFINITION.validate_python(json.loads(json.dumps(item)))
    except ValidationError as error:
        raise _refused(error, field, ToolDefinition) from None


def _refused(error: ValidationError, field: str, kind: Any) -> Refused:
    """The first problem, by the place at which it stands."""
    problem = explain(error, kind)[0]
    path = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in problem.pointer.strip("/").split("/"))
    return Refused(field + path.rstrip("."), problem.message)


def _opened(value: object, field: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Refused(field, Sentence("must-be-json", "must be JSON, it is %(value)s", value=show(value))) from None
