"""Tools as a chat template takes them, and what a template leaves out of a chat that has them.

Many templates know no tools: some raise, and some write the chat without them and say nothing. Which it is shows only
when a row is rendered. So each is rendered a second time with words that nobody says in the place of tools, calls and
results: what is not in that text, the model would never read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alignment.shared.records import Message, ToolCall
from alignment.shared.sentence import Sentence
from alignment.shared.turns.messages import paired
from alignment.shared.turns.tools import name_of

Change = Callable[[str], str]
_WORD = "Quagga{}q"  # what no template says of itself, and none of these is a part of another


@dataclass(frozen=True)
class Spoken:
    """What `apply_chat_template` is given."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None

    @classmethod
    def of(cls, messages: Sequence[Message], tools: Sequence[str] | None, change: Change) -> Spoken:
        """Each text of them changed; a result bears the name of the tool, which some templates ask for."""
        calls = paired(messages, whole=False).calls
        turns = [_turn(message, calls.get(i), change) for i, message in enumerate(messages)]
        return cls(turns, [_changed(json.loads(tool), change) for tool in tools] if tools else None)


def _turn(message: Message, answered: ToolCall | None, change: Change) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": change(message.content)}
    if message.tool_calls:
        said["tool_calls"] = [_call(call, change) for call in message.tool_calls]
    if message.role == "tool":
        name = message.name or (answered.function.name if answered else None)
        beside = {"tool_call_id": message.tool_call_id, "name": name}
        said |= {key: change(value) for key, value in beside.items() if value is not None}
    return said


def _call(call: ToolCall, change: Change) -> dict[str, Any]:
    """Templates want the arguments as an object."""
    arguments = _changed(json.loads(call.function.arguments), change)
    function = {"name": change(call.function.name), "arguments": arguments}
    return {**({} if call.id is None else {"id": change(call.id)}), "type": call.type, "function": function}


def _changed(value: Any, change: Change) -> Any:
    """JSON with each of its texts changed, the names of fields too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(name): _changed(item, change) for name, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, list) else value


@dataclass
class MarkedChat:
    """A chat with words in the place of what a template may leave out."""

    spoken: Spoken
    words: dict[str, Sentence] = field(default_factory=dict)  # and what each stands for

    @classmethod
    def of(cls, messages: Sequence[Message], tools: Sequence[str] | None) -> MarkedChat:
        made = cls(Spoken.of(messages, tools, str))
        for tool, text in zip(made.spoken.tools or (), tools or (), strict=True):
            tool["function"]["name"] = made._word(Sentence("lost-tool", "the tool %(name)s", name=name_of(text)))
        for turn in made.spoken.messages:
            made._mark(turn)
        return made

    def left_out(self, text: str) -> Iterator[Sentence]:
        """What is not in the text that the template made."""
        yield from (what for word, what in self.words.items() if word not in text)

    def _mark(self, turn: dict[str, Any]) -> None:
        if turn["role"] == "tool" and turn["content"]:
            result = Sentence("lost-result", "the result of %(name)s", name=turn.get("name", "a tool"))
            turn["content"] = self._word(result)
        for call in turn.get("tool_calls", ()):
            function = call["function"]
            called = Sentence("lost-call", "the call of %(name)s", name=function["name"])
            function["name"] = self._word(called)
            if function["arguments"]:
                function["arguments"] = {self._word(called): self._word(called)}
        if turn.get("tool_calls") and turn["content"]:
            turn["content"] = self._word(Sentence("lost-beside-call", "what is said beside a call"))

    def _word(self, what: Sentence) -> str:
        word = _WORD.format(len(self.words))
        self.words[word] = what
        return word


def reply_text(before: str, whole: str, stop: str, control: Collection[str]) -> str | None:
    """What the assistant says, as the template writes it: behind what stands before a reply, and before its stop.

    None where it writes such a turn otherwise than a model would say it: it begins as no reply does, ends twice, or
    ends by another token than replies do.
    """
    if not whole.startswith(before):
        return None
    said = whole[len(before) :].rstrip()
    if stop and said.endswith(stop):
        said = said.removesuffix(stop)
    elif any(said.endswith(mark) for mark in control):
        return None
    return said if said.strip() and (not stop or stop not in said) else None
