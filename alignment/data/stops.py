"""Where a reply ends: the tokens that stop a model, and the one with which it is taught to stop.

Many chat models end a turn with another token than their tokenizer's EOS (Gemma's <end_of_turn>, Llama 3's
<|eot_id|>, Phi-3's <|end|>), and name further ones in generation_config.json. Stops are therefore a set. One of
them, the turn end that the chat template itself writes, is what training puts behind a response.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import GenerationConfig, PreTrainedTokenizerBase

_WORD = "Quagga7"  # a reply that no template says of itself


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template puts behind a reply; EOS where it puts none there."""
    return _turn_end(tokenizer, str(tokenizer.chat_template or ""), tokenizer.eos_token_id)


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All tokens that end a reply of `model`, the one that is trained first."""
    settings = getattr(model, "generation_config", None)  # a scorer has none
    own = settings.eos_token_id if settings is not None else None
    return list(dict.fromkeys([turn_end(tokenizer), tokenizer.eos_token_id, *listed(own)]))


def keep_stops(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the model's own settings name all its stops, so that they are saved with it and every program finds them.

    Ids of config.json and generation_config.json count where the tokenizer has a mark of that number: a config
    also holds the library's defaults, which mean nothing to another vocabulary.
    """
    text, settings = model.config.get_text_config(), model.generation_config
    told = [i for values in (settings, text) for i in listed(values.eos_token_id) if i in marks(tokenizer).values()]
    stops = list(dict.fromkeys([turn_end(tokenizer), tokenizer.eos_token_id, *told]))
    settings.eos_token_id = stops if len(stops) > 1 else stops[0]
    settings.pad_token_id = tokenizer.pad_token_id


def savable(settings: GenerationConfig) -> GenerationConfig:
    """The generation settings in a form that the library agrees to write.

    Many folders (Llama 2 chat, Vicuna, Mistral) hold `temperature` or `top_p` without `do_sample`; the library reads
    them, but refuses to save them once anything is changed. They mean sampling. What is wrong otherwise is dropped.
    """
    if is_sound(settings):
        return settings
    settings.do_sample = True
    if is_sound(settings):
        return settings
    kept = {name: getattr(settings, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(**kept)  # type: ignore[no-untyped-call]


def marks(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that stand for themselves, by their text: control tokens, not pieces of words."""
    return _marks(tokenizer, len(tokenizer))


def listed(ids: object) -> Iterable[int]:
    """Token ids that may be none, one or several."""
    return [i for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int]


def is_sound(settings: GenerationConfig) -> bool:
    try:
        settings.validate(strict=True)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=16)
def _turn_end(tokenizer: PreTrainedTokenizerBase, template: str, eos: int) -> int:
    if not template:
        return eos
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _WORD}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except (TemplateError, TypeError, ValueError):  # it refuses even this: what it says of turns is not known
        return eos
    before, _, after = text.rpartition(_WORD)
    rest = after.lstrip()
    found = [mark for mark in marks(tokenizer) if before and rest.startswith(mark)]
    return marks(tokenizer)[max(found, key=len)] if found else eos


@lru_cache(maxsize=16)
def _marks(tokenizer: PreTrainedTokenizerBase, size: int) -> dict[str, int]:
    """`size` is asked for because a tokenizer can be given further tokens."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {text: number for text, number in (*added.items(), *named) if text.strip()}
