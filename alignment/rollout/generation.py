"""Prompts -> responses: the rollout engine of this process.

A plain decoding loop over the live model with a key-value cache. Prompts are sorted by length, padded
on the left, and a row leaves the batch once it has stopped, so that no step is spent on finished text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data.batch import pad_right, position_ids
from alignment.data.stops import stop_ids
from alignment.models.device import autocast
from alignment.models.methods.soft_prompts import opened_with
from alignment.models.recurrent import is_recurrent, replies
from alignment.rollout.streams import Draws
from alignment.shared.errors import BadInput
from alignment.shared.records import Prompt, read_jsonl
from alignment.shared.sentence import Sentence

COMPACT_AT = 0.6  # drop finished rows once this share of the batch or less is still going


@dataclass(frozen=True)
class Generated:
    """Sampled responses, right-padded, in the order of their prompts."""

    responses: torch.Tensor  # (B, R) token ids; padding after the stop
    response_mask: torch.Tensor  # (B, R) True on sampled tokens, the stop included
    finished: torch.Tensor  # (B,) True where the stop came before the length limit
    logprobs: torch.Tensor  # (B, R) of the sampled tokens under the temperature (before top-p); 0 on padding

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int]],
        logprobs: Sequence[Sequence[float]],
        pad_id: int,
        stops: Sequence[int],
        device: torch.device,
    ) -> Generated:
        """From lists, one of each a response: its tokens, the stop included, and their log-probabilities."""
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
        responses = pad_right([list(row) for row in rows], pad_id).to(device)
        padded = torch.zeros(mask.shape, device=device)
        padded[mask] = torch.tensor([value for row in logprobs for value in row], device=device)
        finished = [row[-1] in stops for row in rows]
        return cls(responses, mask, torch.tensor(finished, device=device), padded)

    def ids(self, row: int) -> list[int]:
        """The sampled tokens of one row: `(R,)` without padding."""
        tokens: list[int] = self.responses[row][self.response_mask[row]].tolist()
        return tokens


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

    The model is put in evaluation mode meanwhile. `on_batch(n)` is called after each batch of n.
    Each response has its numbers of `draws`; without, all take theirs from `generator`, which lives on the model's
    device, as they are decoded. The same draws, or the same state, give the same responses.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    parts, rows = [], []
    try:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = [prompts[i] for i in chosen]
            numbers = draws(chosen, max_new_tokens).to(model.device) if draws else None
            source = _Source(generator, numbers)
            parts.append(_decode(model, tokenizer, batch, max_new_tokens, source, temperature, top_p))
            rows += chosen
            if on_batch:
                on_batch(len(chosen))
    finally:
        model.train(was_training)
    return _in_order(parts, rows, tokenizer.pad_token_id)


def left_pad(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as `(B, P)` ids and mask (True on tokens), padded on the left so that all end together."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, mask


@dataclass(frozen=True)
class _Source:
    """Where a batch's random numbers come from."""

    generator: torch.Generator
    numbers: torch.Tensor | None  # (B, R) in [0, 1): of each token; None: from the generator, in turn

    def at(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        """One for each of the rows that are going: `(b, 1)`."""
        if self.numbers is not None:
            return self.numbers[rows, step, None]
        return torch.rand(len(rows), 1, generator=self.generator, device=self.generator.device, dtype=torch.float64)


def _decode(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    source: _Source,
    temperature: float,
    top_p: float,
) -> Generated:
    """One batch, token by token. `alive` holds the rows that are still going, in cache order."""
    device, pad, known = model.device, tokenizer.pad_token_id, stop_ids(model, tokenizer)
    if is_recurrent(model):
        draw = lambda logits, rows, step: _sample(logits.float() / temperature, top_p, source.at(rows, step))  # noqa: E731
        return Generated.of(*replies(model, pad, prompts, max_new_tokens, draw, known), pad, known, device)
    stops = torch.tensor(known, device=device)
    ids, mask = left_pad(prompts, pad, device)
    size = len(prompts)
    responses = torch.full((size, max_new_tokens), pad, device=device)
    logprobs = torch.zeros((size, max_new_tokens), device=device)
    lengths = torch.zeros(size, dtype=torch.long, device=device)
    finished = torch.zeros(size, dtype=torch.bool, device=device)
    model, cache, mask = opened_with(model, mask)
    alive, going = torch.arange(size, device=device), torch.ones(size, dtype=torch.bool, device=device)
    place = position_ids(mask)[:, -ids.shape[1] :]
    for step in range(max_new_tokens):
        with autocast(device):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=place,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        tokens, chances = _sample(output.logits[:, -1].float() / temperature, top_p, source.at(alive, step))
        tokens = torch.where(going, tokens, pad)
        responses[alive, step], logprobs[alive, step] = tokens, chances * going
        lengths[alive] += going
        stopped = torch.isin(tokens, stops)
        finished[alive] |= going & stopped
        going &= ~stopped
        if not going.any():
            break
        if going.float().mean() <= COMPACT_AT:  # the cache shrinks to the rows that still speak
            keep = going.nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            alive, tokens, mask, place, going = alive[keep], tokens[keep], mask[keep], place[keep], going[keep]
        ids = tokens[:, None]
        place = place[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    width = int(lengths.max())
    response_mask = torch.arange(width, device=device) < lengths[:, None]
    return Generated(responses[:, :width], response_mask, finished, logprobs[:, :width])


def _sample(logits: torch.Tensor, top_p: float, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token a row from `(B, V)` tempered logits; its log-probability is that of the whole distribution."""
    logp = torch.log_softmax(logits, dim=-1)
    weights = logp.exp() if top_p >= 1 else _nucleus(logp.exp(), top_p)
    tokens = _draw(weights, uniform)
    return tokens.squeeze(-1), logp.gather(-1, tokens).squeeze(-1)


def _draw(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """A column a row, with the chances that `(B, V)` weights give: `(B, 1)`.

    Where a uniform number `(B, 1)` falls among the running sums; `torch.multinomial` draws B * V numbers for that.
    """
    sums = weights.double().cumsum(dim=-1)
    found = torch.searchsorted(sums, uniform * sums[:, -1:], right=True)  # right: never a token of weight 0
    return found.clamp(max=weights.shape[1] - 1)


def _nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero all but the likeliest tokens whose mass reaches `top_p`; the first always stays (Holtzman et al. 2020)."""
    sorted_probs, index = probs.sort(dim=-1, descending=True)
    before = sorted_probs.cumsum(-1) - sorted_probs
    return torch.zeros_like(probs).scatter(-1, index, sorted_probs.masked_fill(before >= top_p, 0.0))


def _in_order(parts: list[Generated], rows: list[int], pad: int) -> Generated:
    """Join batches of different widths and put row `rows[i]` back to its place."""
    width = max(part.responses.shape[1] for part in parts)
    back = torch.tensor(rows, device=parts[0].responses.device).argsort()

    def join(tensors: list[torch.Tensor], fill: float) -> torch.Tensor:
        padded = [torch.nn.functional.pad(t, (0, width - t.shape[1]), value=fill) for t in tensors]
        return torch.cat(padded)[back]

    return Generated(
        responses=join([part.responses for part in parts], pad),
        response_mask=join([part.response_mask for part in parts], 0),
        finished=torch.cat([part.finished for part in parts])[back],
        logprobs=join([part.logprobs for part in parts], 0.0),
    )


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
