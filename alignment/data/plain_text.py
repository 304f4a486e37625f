"""People's text stays text: "<|im_start|>system" that somebody typed opens no turn.

A tokenizer makes a control token of its text wherever that stands. A row that holds such text is encoded with a twin
of the tokenizer, whose control tokens have other names, which nobody types; the marks that the template writes are
given those names first. All else (normalisation, pieces, prefixes) is the tokenizer's own, and so are the ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from alignment.data.stops import marks, turn_end
from alignment.shared.errors import BadInput

_HIDDEN = "\ue0f0{}\ue0f1"  # private use: stands for a mark in a text while the template is rendered
_NAME = "\ue0f2{}\ue0f3"  # a control token's name in the twin
# What a template is shown, to see which marks it writes.
_TURNS: list[dict[str, Any]] = [{"role": role, "content": "."} for role in ("user", "assistant", "user")]
_CALL = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": {"a": "."}}}
_TOOL = {"type": "function", "function": {"name": "f", "description": ".", "parameters": {"type": "object"}}}
_CALLED: list[dict[str, Any]] = [
    _TURNS[0],
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call00001", "name": "f", "content": "."},
    _TURNS[1],
]


class NotText(BadInput):
    """A text that this tokenizer cannot read as text."""


@dataclass(frozen=True)
class _Twin:
    tokenizer: Tokenizer
    names: dict[str, str]  # of the control tokens, by their text
    ids: dict[int, int]  # of the twin's added tokens -> the tokenizer's own


def control(tokenizer: PreTrainedTokenizerBase, tools: bool = False) -> dict[str, int]:
    """The tokens that nobody may write by typing: special ones, and those with which the template builds turns.

    Others that were added, such as runs of blanks or <think>, are a part of texts. In a chat with `tools` the marks in
    which the template puts calls and results belong to it, too.
    """
    return _control(tokenizer, len(tokenizer), str(tokenizer.chat_template or ""), tools)


def holds_control(tokenizer: PreTrainedTokenizerBase, text: str, tools: bool = False) -> bool:
    return bool(_pattern(tokenizer, tools).search(text))


def hide(tokenizer: PreTrainedTokenizerBase, text: str, tools: bool = False) -> str:
    """The text with control tokens' texts put out of a template's and a tokenizer's sight."""
    names = list(control(tokenizer, tools))
    return _pattern(tokenizer, tools).sub(lambda found: _HIDDEN.format(names.index(found[0])), text)


def ids_of_hidden(tokenizer: PreTrainedTokenizerBase, text: str, tools: bool = False) -> list[int]:
    """Token ids of a text in which marks are control tokens and what was hidden is text.

    Raises NotText where the tokenizer has no other pieces for it, or is of a kind that has no twin.
    """
    twin = _twin(tokenizer, len(tokenizer), str(tokenizer.chat_template or ""), tools)
    pattern, marked = _pattern(tokenizer, tools), control(tokenizer, tools)
    meant = len(pattern.findall(text))
    named = pattern.sub(lambda found: twin.names[found[0]], text)
    for number, mark in enumerate(marked):
        named = named.replace(_HIDDEN.format(number), mark)
    own = [twin.ids.get(i, i) for i in twin.tokenizer.encode(named, add_special_tokens=False).ids]
    if sum(i in marked.values() for i in own) != meant + _unknown(tokenizer, own):
        raise _not_text("has no other pieces for the text of a control token")
    return own


def _unknown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """Pieces that the tokenizer does not know are a special token too, but not a control token."""
    unknown = tokenizer.unk_token_id
    return 0 if unknown is None else sum(i == unknown for i in ids)


def _pattern(tokenizer: PreTrainedTokenizerBase, tools: bool) -> re.Pattern[str]:
    longest_first = sorted(control(tokenizer, tools), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


@lru_cache(maxsize=16)
def _control(tokenizer: PreTrainedTokenizerBase, size: int, template: str, tools: bool) -> dict[str, int]:
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    shown = _shown(tokenizer, _TURNS) if template else ""
    wanted = {*tokenizer.all_special_tokens, *special, *(text for text in marks(tokenizer) if text in shown)}
    if tools and template:
        plain, called = _shown(tokenizer, _TURNS[:2]), _shown(tokenizer, _CALLED, tools=[_TOOL])
        wanted |= {text for text in marks(tokenizer) if text in called and text not in plain}
    end = turn_end(tokenizer)
    return {text: number for text, number in marks(tokenizer).items() if text in wanted or number == end}


def _shown(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], **more: Any) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **more))
    except (TemplateError, TypeError, ValueError, KeyError):
        return ""


@lru_cache(maxsize=8)
def _twin(tokenizer: PreTrainedTokenizerBase, size: int, template: str, tools: bool) -> _Twin:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _not_text("is of a kind without control over its special tokens")
    names = {text: _NAME.format(number) for number, text in enumerate(control(tokenizer, tools))}
    state = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    known = {token["content"] for token in state["added_tokens"]}
    twin = Tokenizer.from_str(json.dumps(state | {"post_processor": None}))
    twin.add_special_tokens([name for name in names.values() if name not in known])
    renamed = ((twin.token_to_id(names.get(text, text)), number) for text, number in marks(tokenizer).items())
    return _Twin(twin, names, {made: number for made, number in renamed if made is not None})


def _not_text(what: str) -> NotText:
    return NotText(f"A text names a control token, and the tokenizer {what}.", "Take it out of the text.")
