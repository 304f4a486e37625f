"""Tools in a chat: what an assistant asks of one, and how a tool is described, in the shape of OpenAI's messages.

Arguments and descriptions are kept as the JSON text that they came as: a chat template prints their keys in the order
in which they stand, and no store may change that order or a number's digits.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from alignment.shared.sentence import Sentence
from alignment.shared.turns.base import Record, is_unset

NO_OBJECT = Sentence("no-json-object", "must be a JSON object, as text or as it is; it is none")
NO_FUNCTION = Sentence(
    "tool-no-function", 'must describe a function: {"type": "function", "function": {"name": ..., "parameters": ...}}'
)


def object_text(value: Any) -> str:
    """A JSON object as its text: one that is a text already stays as it stands. ValueError where it is none."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    if not isinstance(text, str) or not isinstance(_parsed(text or "{}"), dict):
        raise ValueError(NO_OBJECT)
    return text or "{}"


def definition_text(value: Any) -> str:
    """A tool's description as the text of OpenAI's object; a function without that frame gets it.

    Its blanks are json's: tools that differ in nothing else are the same.
    """
    found = _parsed(object_text(value))
    if "function" not in found and found.get("type") in (None, "function"):
        found = {"type": "function", "function": {name: said for name, said in found.items() if name != "type"}}
    function = found.get("function")
    if found.get("type", "function") != "function" or not isinstance(function, dict):
        raise ValueError(NO_FUNCTION)
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError(NO_FUNCTION)
    return json.dumps(found, ensure_ascii=False)


def _parsed(text: str) -> Any:
    """Refuses what JSON does not know (NaN), what is nested without end, and halves of characters."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError(NO_OBJECT) from None
    return value


def _no_number(name: str) -> Any:
    raise ValueError(name)


JsonObject = Annotated[str, BeforeValidator(object_text)]
ToolDefinition = Annotated[str, BeforeValidator(definition_text)]


class CalledFunction(Record):
    name: str = Field(min_length=1)
    arguments: JsonObject = Field(default="{}", description="A JSON object as text; an object is read, too.")


class ToolCall(Record):
    """What the assistant asks of a tool."""

    id: str | None = Field(default=None, exclude_if=is_unset, description="What its result refers to.")
    type: Literal["function"] = "function"
    function: CalledFunction

    @property
    def text(self) -> str:
        """For people to read."""
        return f"{self.function.name}({self.function.arguments})"


def name_of(definition: str) -> str:
    """The name of the tool that is described."""
    return str(json.loads(definition)["function"]["name"])


# In a canonical line these stand for themselves only: inside of a text, every quote is escaped.
MARKS = ('"tools":', '"tool_calls":', '"role":"tool"')


def holds_tools(line: str) -> bool:
    """Whether a canonical record holds tools, their calls or their results."""
    return any(mark in line for mark in MARKS)
