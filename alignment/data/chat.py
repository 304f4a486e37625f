"""The one template: messages to token ids, and the mask of what the model itself must say.

A training sequence is `prompt_ids(prompt) + response_ids(text)`: exactly what a rollout produces, token
by token, so SFT, reward model and PPO see a response the same way. The response starts where generation
starts and ends with the stop token, which is part of it and is trained. (Rendering the whole chat and
searching for the assistant's turn instead misplaces the stop in templates that end turns with a newline.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from alignment.data.plain_text import control, hide, holds_control, ids_of_hidden
from alignment.data.stops import marks, turn_end
from alignment.data.tools import MarkedChat, Spoken, reply_text
from alignment.shared.errors import BadInput
from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence

# The project's own template, for tokenizers without one. The generation markers let TRL, too, find the
# assistant's tokens; the stop token stands inside them.
TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")


REFUSED_HOW = Sentence(
    "template-refuses-next",
    "Change the prompt's roles or the template, or set template_refusals to 'leave_out' or 'merge_turns'.",
)


class TemplateRefuses(BadInput):
    """The chat template does not take these turns."""


@dataclass(frozen=True)
class Encoded:
    """One conversation as a model reads it."""

    ids: list[int]  # (T,)
    response_mask: list[bool]  # (T,) True on the response's tokens, the stop token included

    @property
    def prompt_length(self) -> int:
        """Tokens before the first that counts."""
        return self.response_mask.index(True)


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer.chat_template)


def install_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer the project's template. Role marks it does not know are spelt in its own tokens."""
    tokenizer.chat_template = TEMPLATE


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """The prompt as token ids, up to where the model begins to speak."""
    if not has_template(tokenizer):
        raise BadInput(
            Sentence("no-chat-template", "The tokenizer has no chat template."),
            Sentence("run-sft-first", "Run the SFT stage first."),
        )
    with _refusals(prompt):
        _require_whole(tokenizer, prompt, prompt.messages, begins=True)
        return _ids_until_the_assistant(tokenizer, prompt, prompt.messages)


@contextmanager
def _refusals(prompt: Prompt, *, tools: bool = False) -> Iterator[None]:
    """What a template raises, said of the prompt; one that knows no tools may stumble over them in any way."""
    stumbles = (TypeError, ValueError, KeyError) if tools or prompt.uses_tools else ()
    try:
        yield
    except (TemplateError, *stumbles) as error:  # some know no system role, or insist on turns that alternate
        cause = Sentence(
            "template-refuses",
            "The model's chat template refuses the prompt %(prompt)s: %(error)s",
            prompt=f"{prompt.text[:60]!r}",
            error=error,
        )
        raise TemplateRefuses(cause, REFUSED_HOW) from error


def _require_whole(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, messages: Sequence[Message], *, begins: bool
) -> None:
    """Refuse a template that leaves out what is there of tools, though it raises nothing."""
    if not prompt.tools and not any(message.uses_tools for message in messages):
        return
    marked = MarkedChat.of(messages, prompt.tools)
    if lost := next(marked.left_out(_text(tokenizer, marked.spoken, begins=begins)), None):
        cause = Sentence(
            "template-leaves-out",
            "The model's chat template leaves %(what)s out of the prompt %(prompt)s.",
            what=lost,
            prompt=f"{prompt.text[:60]!r}",
        )
        raise TemplateRefuses(cause, REFUSED_HOW)


def _text(tokenizer: PreTrainedTokenizerBase, spoken: Spoken, *, begins: bool) -> str:
    """What the template makes of it; `begins`: up to where the assistant begins to speak."""
    more: dict[str, Any] = {"tools": spoken.tools} if spoken.tools else {}
    return str(tokenizer.apply_chat_template(spoken.messages, tokenize=False, add_generation_prompt=begins, **more))


def _ids_until_the_assistant(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, messages: Sequence[Message]
) -> list[int]:
    """The messages as token ids, and what stands before the assistant's next words."""
    tools = prompt.uses_tools
    if tools or any(holds_control(tokenizer, message.content) for message in messages):
        spoken = Spoken.of(messages, prompt.tools, lambda text: hide(tokenizer, text, tools))
        return ids_of_hidden(tokenizer, _text(tokenizer, spoken, begins=True), tools)
    return _ids(tokenizer, _text(tokenizer, Spoken.of(messages, None, str), begins=True))


def reply_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, reply: str | Message) -> list[int]:
    """The tokens of a reply and the stop token. Calls of tools are as the chat template writes them."""
    if isinstance(reply, str) or not reply.tool_calls:
        return response_ids(tokenizer, reply if isinstance(reply, str) else reply.content)
    with _refusals(prompt, tools=True):
        said = _said(tokenizer, prompt, prompt.messages, reply)
    return [*ids_of_hidden(tokenizer, said, tools=True), turn_end(tokenizer)]


def _said(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, messages: Sequence[Message], reply: Message) -> str:
    """The text of a reply that calls tools, its control tokens hidden."""
    turns = [*messages, reply]
    _require_whole(tokenizer, prompt, turns, begins=False)

    def hidden(turns: Sequence[Message], begins: bool) -> str:
        spoken = Spoken.of(turns, prompt.tools, lambda text: hide(tokenizer, text, tools=True))
        return _text(tokenizer, spoken, begins=begins)

    stop = next((text for text, number in marks(tokenizer).items() if number == turn_end(tokenizer)), "")
    said = reply_text(hidden(messages, True), hidden(turns, False), stop, control(tokenizer))
    if said is None:
        cause = Sentence(
            "template-no-reply",
            "The model's chat template writes a call of %(name)s otherwise than a model would say it.",
            name=reply.tool_calls[0].function.name if reply.tool_calls else "",
        )
        raise TemplateRefuses(cause, REFUSED_HOW)
    return said


def response_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The response's tokens and the stop token."""
    quotes = holds_control(tokenizer, text)
    ids = ids_of_hidden(tokenizer, hide(tokenizer, text)) if quotes else _ids(tokenizer, text)
    return [*ids, turn_end(tokenizer)]


def many_response_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, list[int]]:
    """`response_ids` by text: those that quote no control token in one call, which is faster."""
    plain = [text for text in texts if not holds_control(tokenizer, text)]
    together = tokenizer(plain, add_special_tokens=False)["input_ids"] if plain else []
    found = {text: [*ids, turn_end(tokenizer)] for text, ids in zip(plain, together, strict=True)}
    return found | {text: response_ids(tokenizer, text) for text in texts if text not in found}


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    response: str | Message,
    *,
    earlier_turns: bool = False,
    but: Collection[int] = (),
) -> Encoded:
    """Prompt and response as one sequence, the loss falling on the response and its stop; with `earlier_turns` on what
    the assistant said before, too, except for the messages at the places of `but`."""
    before, after = prompt_ids(tokenizer, prompt), reply_ids(tokenizer, prompt, response)
    counts = [False] * len(before) + [True] * len(after)
    for turn in _turns_of_the_assistant(tokenizer, prompt, before, but) if earlier_turns else ():
        counts[turn] = [True] * (turn.stop - turn.start)
    return Encoded(before + after, counts)


def _turns_of_the_assistant(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, ids: list[int], but: Collection[int]
) -> Iterator[slice]:
    """Where each turn that is not at a place of `but` stands in the prompt's ids, its stop included.

    A turn is found only where it reads as the model would have said it: some templates cut an earlier turn's thoughts
    or blanks, and that text the model never says.
    """
    for number, message in enumerate(prompt.messages):
        if message.role == "assistant" and number and number not in but:
            before = _ids_until_the_assistant(tokenizer, prompt, prompt.messages[:number])
            said = before + _ids_of_turn(tokenizer, prompt, number)
            if ids[: len(said)] == said:
                yield slice(len(before), len(said))


def _ids_of_turn(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, number: int) -> list[int]:
    """The tokens of an earlier turn, as if it were the reply."""
    message = prompt.messages[number]
    if not message.tool_calls:
        return response_ids(tokenizer, message.content)
    said = _said(tokenizer, prompt, prompt.messages[:number], message)
    return [*ids_of_hidden(tokenizer, said, tools=True), turn_end(tokenizer)]


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of generated tokens: without the stop and without surrounding blanks."""
    if ids and ids[-1] in control(tokenizer).values():  # not every turn end is declared special
        ids = ids[:-1]
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
