"""One turn of a chat, and whether the turns of tools stand where they can: every result answers a call before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.turns.base import Record, is_unset
from alignment.shared.turns.tools import ToolCall

NO_CALL = Sentence("result-without-call", "is the result of a tool, and no turn before it calls one")
TOO_MANY = Sentence("result-too-many", "is one result more than tools were called")
ONLY_ASSISTANT = Sentence("calls-of-assistant", "only the assistant calls tools; tool_calls stands beside another role")
ONLY_TOOL = Sentence("result-fields", "tool_call_id and name belong to the result of a tool, whose role is tool")


class Message(Record):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] | None = Field(
        default=None, min_length=1, exclude_if=is_unset, description="Of the assistant: the tools that it calls."
    )
    tool_call_id: str | None = Field(
        default=None, exclude_if=is_unset, description="Of a tool's result: the call that it answers."
    )
    name: str | None = Field(default=None, exclude_if=is_unset, description="Of a tool's result: the tool.")

    @model_validator(mode="after")
    def _fields_of_its_role(self) -> Message:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(ONLY_ASSISTANT)
        if (self.tool_call_id is not None or self.name is not None) and self.role != "tool":
            raise ValueError(ONLY_TOOL)
        return self

    @property
    def uses_tools(self) -> bool:
        return self.role == "tool" or self.tool_calls is not None

    @property
    def text(self) -> str:
        """For people to read: what is said, and which tools are called."""
        return "\n".join(filter(None, [self.content, *(call.text for call in self.tool_calls or ())]))

    @property
    def identity(self) -> list[Any]:
        """What two turns must share to be the same."""
        beside = self.model_dump(mode="json", exclude={"role", "content"}) if self.uses_tools else {}
        return [self.role, self.content, *([beside] if beside else [])]


@dataclass(frozen=True)
class Misplaced:
    """A turn that cannot stand where it does."""

    turn: int
    field: str  # of the message; empty for the whole
    why: Sentence


@dataclass(frozen=True)
class PairedTurns:
    """Which call each result answers, by the result's place, and what fits nowhere."""

    calls: dict[int, ToolCall]
    faults: list[Misplaced]


def paired(messages: Sequence[Message], *, whole: bool = True) -> PairedTurns:
    """`whole`: nothing may come after, so that calls of the last turns must have their results, too."""
    calls: dict[int, ToolCall] = {}
    faults: list[Misplaced] = []
    if not any(message.uses_tools for message in messages):  # most chats
        return PairedTurns(calls, faults)
    asked: list[ToolCall] = []  # of the last turn that is no result
    waiting: list[ToolCall] = []
    place = 0  # of that turn
    for i, message in enumerate(messages):
        if message.role == "tool":
            found = _answered(message, asked, waiting)
            if isinstance(found, ToolCall):
                waiting.remove(found)
                calls[i] = found
            else:
                faults.append(Misplaced(i, *found))
            continue
        faults += _unanswered(place, waiting)
        asked, waiting, place = list(message.tool_calls or ()), list(message.tool_calls or ()), i
        faults += _twice(i, asked)
    return PairedTurns(calls, faults + (_unanswered(place, waiting) if whole else []))


def _answered(
    result: Message, asked: Sequence[ToolCall], waiting: Sequence[ToolCall]
) -> ToolCall | tuple[str, Sentence]:
    """The call of the result's id; without an id, the next that waits, of its name where it has one."""
    if not asked:
        return "", NO_CALL
    if result.tool_call_id is not None and any(call.id is not None for call in asked):
        named = next((call for call in waiting if call.id == result.tool_call_id), None)
        return named or ("tool_call_id", _no_such(result.tool_call_id, asked))
    if not waiting:
        return "", TOO_MANY
    return next((call for call in waiting if call.function.name == result.name), waiting[0])


def _no_such(key: str, asked: Sequence[ToolCall]) -> Sentence:
    known = ", ".join(str(call.id) for call in asked)
    if any(call.id == key for call in asked):
        return Sentence("result-twice", "answers the call %(id)s, which has its result already", id=key)
    return Sentence(
        "result-of-no-call", "answers the call %(id)s, which was not made; waiting are %(known)s", id=key, known=known
    )


def _unanswered(turn: int, waiting: Sequence[ToolCall]) -> list[Misplaced]:
    return [Misplaced(turn, "tool_calls", _no_result(call)) for call in waiting[:1]]


def _no_result(call: ToolCall) -> Sentence:
    english = "calls %(name)s, and no result of it comes before the next turn"
    return Sentence("call-without-result", english, name=call.function.name)


def _twice(turn: int, asked: Sequence[ToolCall]) -> list[Misplaced]:
    ids = [call.id for call in asked if call.id is not None]
    repeated = next((key for key in ids if ids.count(key) > 1), None)
    if repeated is None:
        return []
    return [Misplaced(turn, "tool_calls", Sentence("call-id-twice", "holds the id %(id)s twice", id=repeated))]
