"""Prompts -> responses: the rollout engine of this process.

Prompts are sorted by length, padded on the left, and decoded over the live model with a key-value cache, in one of two
ways: in a plain loop (plain_decoding.py), on a CPU and for every model that there is; on a GPU, where steps cost more
than rows, in steps of one shape (fixed_decoding.py), if the model can do it (decode_support.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.rollout import plain_decoding
from alignment.rollout.batches import Generated, in_order
from alignment.rollout.decode_support import support_of
from alignment.rollout.sampling import Numbers, sampling_of
from alignment.rollout.streams import Draws
from alignment.shared.errors import BadInput
from alignment.shared.records import Prompt, read_jsonl
from alignment.shared.sentence import Sentence


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_p: float = 1.0,
    batch_size: int = 128,
    draws: Draws | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Generated:
    """Sample one response to each of B prompts (token ids, as `chat.prompt_ids` makes them).

    The model is put in evaluation mode meanwhile. `batch_size` are decoded together, on a GPU fewer where there is no
    room for them; `on_batch(n)` is called after each batch of n.
    Each response has its numbers of `draws`; without, all take theirs from `generator`, which lives on the model's
    device. The same draws, or the same state, give the same responses; the draws do so in both ways of decoding.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    parts, rows = [], []
    rule, support = sampling_of(model, tokenizer, temperature, top_p), support_of(model, tokenizer)
    was_training = model.training
    model.eval()
    try:
        decode = partial(plain_decoding.decode, model, max_new_tokens, rule)
        if support:
            length = len(prompts[order[-1]]) + max_new_tokens
            batch_size = support.rows_at_once(min(batch_size, len(order)), length)
            runner = support.runner(model, rule, batch_size, length, max_new_tokens)
            decode = partial(runner.decode, model, max_new_tokens)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            numbers = draws(chosen, max_new_tokens).to(model.device) if draws else None
            parts.append(decode([prompts[i] for i in chosen], Numbers(generator, numbers)))
            rows += chosen
            if on_batch:
                on_batch(len(chosen))
    finally:
        model.train(was_training)
        if support:
            support.release()
    return in_order(parts, rows, tokenizer.pad_token_id)


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The file's prompts; BadInput names the line that is none, or an empty file."""
    count = 0
    try:
        for prompt in read_jsonl(path, Prompt):
            count += 1
            yield prompt
    except (ValueError, OSError) as error:
        raise BadInput(str(error), Sentence("line-is-prompt", "Each line must be one prompt record.")) from error
    if not count:
        raise BadInput(
            Sentence("no-prompts", "%(path)s holds no prompts.", path=path), Sentence("give-one", "Give at least one.")
        )
