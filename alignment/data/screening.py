"""Rows before they are encoded: what the chat template refuses, and what names a control token.

Some templates know no system turn, or insist that turns alternate and begin with the user. A row that such a template
refuses is left out and counted, is mended by joining turns, or ends the job, as the setting `template_refusals` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from transformers import PreTrainedTokenizerBase

from alignment.data import chat
from alignment.data.plain_text import NotText, holds_control
from alignment.shared.events import Reporter
from alignment.shared.records import Demonstration, Message, Prompt

Rule = Literal["refuse", "leave_out", "merge_turns"]


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

    def note(self, what: str, reporter: Reporter) -> None:
        """Say what happened to `what`, where something did."""
        total = len(self.prompts)
        if self.reasons:
            first = self.reasons[0]
            reporter.note(f"{len(self.reasons)} of {total} {what} were left out. {first}", level="warning")
        if self.merged:
            reporter.note(f"{self.merged} of {total} {what} had turns joined, as the chat template asks.")
        if self.quoted:
            reporter.note(f"{self.quoted} of {total} {what} hold the text of a control token; it is read as text.")


def screen(tokenizer: PreTrainedTokenizerBase, rows: Sequence[tuple[Prompt, Sequence[str]]], rule: Rule) -> Screened:
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
    """The system's words at the head of the first user's, and neighbours of one role as one turn."""
    turns = [
        Message(role=role, content="\n\n".join(prompt.messages[place].content for place in places))
        for role, places in _joined(prompt)
    ]
    return prompt.model_copy(update={"messages": tuple(turns)})


def shown_as(row: Demonstration, prompt: Prompt) -> Demonstration:
    """The demonstration with the prompt that it is read with: of joined turns none is learnt if one of them is not."""
    if prompt == row.prompt:
        return row
    kept_out = set(row.not_learnt)
    places = tuple(new for new, (_, old) in enumerate(_joined(row.prompt)) if kept_out & set(old))
    return row.model_copy(update={"prompt": prompt, "not_learnt": places})


def _joined(prompt: Prompt) -> Iterator[tuple[Literal["user", "assistant"], list[int]]]:
    """The roles of joined turns, with the places of the messages that each is joined of."""

    def role(place: int) -> Literal["user", "assistant"]:
        return "assistant" if prompt.messages[place].role == "assistant" else "user"

    for speaker, places in groupby(range(len(prompt.messages)), key=role):
        yield speaker, list(places)


def _read(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, responses: Sequence[str], rule: Rule
) -> tuple[Prompt | None, str]:
    try:
        chat.prompt_ids(tokenizer, prompt)
        for text in responses:
            if holds_control(tokenizer, text):
                chat.response_ids(tokenizer, text)
        return prompt, ""
    except (chat.TemplateRefuses, NotText) as error:
        if rule == "refuse":
            raise
        if rule == "merge_turns" and (merged := merge_turns(prompt)) != prompt:
            return _read(tokenizer, merged, responses, "leave_out")
        return None, error.cause


def _texts(prompt: Prompt, responses: Sequence[str]) -> Iterator[str]:
    yield from (message.content for message in prompt.messages)
    yield from responses
