"""The texts inside of what a record holds of tools: arguments of calls and descriptions, which are JSON.

Each value is a text by itself, numbers too: a telephone number can be either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alignment.shared.records import Message, Prompt, ToolCall

Change = Callable[[str], str]


def of_prompt(prompt: Prompt) -> Iterator[str]:
    for turn in prompt.messages:
        yield from of_calls(turn.tool_calls)
    for tool in prompt.tools or ():
        yield from _values(json.loads(tool))


def of_calls(calls: Sequence[ToolCall] | None) -> Iterator[str]:
    for call in calls or ():
        yield from _values(json.loads(call.function.arguments))


def changed_prompt(prompt: Prompt, change: Change) -> Prompt:
    """The prompt with each text changed; whose call a result answers stays."""
    turns = tuple(_turn(turn, change) for turn in prompt.messages)
    tools = tuple(_json(tool, change) for tool in prompt.tools) if prompt.tools else None
    return Prompt(messages=turns, criterion=prompt.criterion, language=prompt.language, tools=tools)


def changed_calls(calls: Sequence[ToolCall] | None, change: Change) -> tuple[ToolCall, ...] | None:
    return tuple(_call(call, change) for call in calls) if calls else None


def _turn(turn: Message, change: Change) -> Message:
    new = {"content": change(turn.content), "tool_calls": changed_calls(turn.tool_calls, change)}
    return turn.model_copy(update=new)


def _call(call: ToolCall, change: Change) -> ToolCall:
    function = call.function.model_copy(update={"arguments": _json(call.function.arguments, change)})
    return call.model_copy(update={"function": function})


def _json(text: str, change: Change) -> str:
    """The JSON with its values changed; the very text where none is."""
    value = json.loads(text)
    new = _new(value, change)
    return text if new == value else json.dumps(new, ensure_ascii=False)


def _new(value: Any, change: Change) -> Any:
    if isinstance(value, dict):
        return {name: _new(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_new(item, change) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    written = value if isinstance(value, str) else json.dumps(value)
    new = change(written)
    return value if new == written else new


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _values(item)
    elif value is not None and not isinstance(value, bool):
        yield value if isinstance(value, str) else json.dumps(value)
