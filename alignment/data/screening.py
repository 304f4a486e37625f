"""Rows before they are encoded: what the chat template refuses, and what names a control token.

Some templates know no system turn, or insist that turns alternate and begin with the user. A row that such a template
refuses is left out and counted, is mended by joining turns, or ends the job, as the setting `template_refusals` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.plain_text import NotText, holds_control
from alignment.shared.events import Reporter
from alignment.shared.records import Demonstration, Message, Prompt
from alignment.shared.sentence import Sentence, counted

Rule = Literal["refuse", "leave_out", "merge_turns"]
Reply = str | Message  # a turn of the assistant, where it may call tools


@dataclass(frozen=True)
class Screened:
    """What became of the rows."""

    prompts: list[Prompt | None]  # as they are to be read; None: the row is left out
    reasons: list[str]  # of those left out
    merged: int  # whose turns were joined
    quoted: int  # that hold the text of a control token, which stays text

    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        found = {"template_refused": len(self.reasons), "turns_merged": self.merged, "control_text": self.quoted}
        return {name: number for name, number in found.items() if number}

    def note(self, what: Sentence, reporter: Reporter) -> None:
        """Say what happened to `what`, where something did."""
        total = len(self.prompts)
        if self.reasons:
            left_out = counted(
                "screened-left-out",
                "%(n)s of %(total)s %(what)s was left out. %(first)s",
                "%(n)s of %(total)s %(what)s were left out. %(first)s",
                n=len(self.reasons),
                total=total,
                what=what,
                first=self.reasons[0],
            )
            reporter.note(left_out, level="warning")
        if self.merged:
            english = "%(n)s of %(total)s %(what)s had turns joined, as the chat template asks."
            reporter.note(Sentence("screened-joined", english, n=self.merged, total=total, what=what))
        if self.quoted:
            reporter.note(
                counted(
                    "screened-control",
                    "%(n)s of %(total)s %(what)s holds the text of a control token; it is read as text.",
                    "%(n)s of %(total)s %(what)s hold the text of a control token; it is read as text.",
                    n=self.quoted,
                    total=total,
                    what=what,
                )
            )


def screen(tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[Prompt, Sequence[Reply]]], rule: Rule) -> Screened:
    """Try each row: its prompt and its responses. Raises BadInput at the first refusal with `refuse`."""
    prompts: list[Prompt | None] = []
    reasons: list[str] = []
    quoted = 0
    for prompt, responses in rows:
        read, reason = _read(tokenizer, prompt, responses, rule)
        prompts.append(read)
        reasons += [reason] if read is None else []
        quoted += read is not None and any(holds_control(tokenizer, text) for text in _texts(prompt, responses))
    merged = sum(new is not None and new is not old for new, (old, _) in zip(prompts, rows, strict=True))
    return Screened(prompts, reasons, merged, quoted)


def merge_turns(prompt: Prompt) -> Prompt:
    """The system's words at the head of the first user's, and neighbours of one role as one turn; tools' stay apart."""
    turns = [_as_one([prompt.messages[place] for place in places]) for places in _joined(prompt)]
    return prompt.model_copy(update={"messages": tuple(turns)})


def shown_as(row: Demonstration, prompt: Prompt) -> Demonstration:
    """The demonstration with the prompt that it is read with: of joined turns none is learnt if one of them is not."""
    if prompt == row.prompt:
        return row
    kept_out = set(row.not_learnt)
    places = tuple(new for new, old in enumerate(_joined(row.prompt)) if kept_out & set(old))
    return row.model_copy(update={"prompt": prompt, "not_learnt": places})


def _joined(prompt: Prompt) -> list[list[int]]:
    """The places of the messages that each joined turn is made of."""
    turns: list[list[int]] = []
    for place, message in enumerate(prompt.messages):
        before = prompt.messages[place - 1]
        apart = not place or message.uses_tools or before.uses_tools
        if apart or _speaker(before) != _speaker(message):
            turns.append([])
        turns[-1].append(place)
    return turns


def _as_one(messages: Sequence[Message]) -> Message:
    if len(messages) == 1:
        return messages[0].model_copy(update={"role": _speaker(messages[0])})
    return Message(role=_speaker(messages[0]), content="\n\n".join(message.content for message in messages))


def _speaker(message: Message) -> Literal["user", "assistant", "tool"]:
    return "user" if message.role == "system" else message.role


def _read(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, responses: Sequence[Reply], rule: Rule
) -> tuple[Prompt | None, str]:
    try:
        chat.prompt_ids(tokenizer, prompt)
        for reply in responses:
            if _calls(reply) or holds_control(tokenizer, _text(reply)):
                chat.reply_ids(tokenizer, prompt, reply)
        return prompt, ""
    except (chat.TemplateRefuses, NotText) as error:
        if rule == "refuse":
            raise
        if rule == "merge_turns" and (merged := merge_turns(prompt)) != prompt:
            return _read(tokenizer, merged, responses, "leave_out")
        return None, error.cause


def _texts(prompt: Prompt, responses: Sequence[Reply]) -> Iterator[str]:
    yield from (message.text for message in prompt.messages)
    yield from map(_text, responses)


def _text(reply: Reply) -> str:
    return reply if isinstance(reply, str) else reply.text


def _calls(reply: Reply) -> bool:
    return not isinstance(reply, str) and reply.tool_calls is not None
