"""Decoding token by token, in a plain loop: for a CPU, where each row costs, and for every model that there is.

A row leaves the batch once it has stopped, so that no step is spent on finished text, and the cache grows with the
text. It is the reference for every other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from alignment.data.batch import position_ids
from alignment.models.device import autocast
from alignment.models.methods.soft_prompts import opened_with
from alignment.models.recurrent import is_recurrent, replies
from alignment.rollout.batches import Generated, left_pad
from alignment.rollout.sampling import Numbers, Sampling, sample

COMPACT_AT = 0.6  # drop finished rows once this share of the batch or less is still going


def decode(model: Any, most: int, rule: Sampling, prompts: Sequence[Sequence[int]], source: Numbers) -> Generated:
    """One response of up to `most` tokens to each prompt."""
    device, pad = model.device, rule.pad
    if is_recurrent(model):
        draw = lambda logits, rows, step: sample(logits.float(), rule, source.at(rows, step))  # noqa: E731
        return Generated.of(*replies(model, pad, prompts, most, draw, rule.stops), pad, rule.stops, device)
    stops = torch.tensor(rule.stops, device=device)
    ids, mask = left_pad(prompts, pad, device)
    size = len(prompts)
    responses = torch.full((size, most), pad, device=device)
    logprobs = torch.zeros((size, most), device=device)
    lengths = torch.zeros(size, dtype=torch.long, device=device)
    finished = torch.zeros(size, dtype=torch.bool, device=device)
    model, cache, mask = opened_with(model, mask)
    # The rows that are still going, in the cache's order; those of them that have not stopped since it was last cut.
    alive, going = torch.arange(size, device=device), torch.ones(size, dtype=torch.bool, device=device)
    place = position_ids(mask)[:, -ids.shape[1] :]
    for step in range(most):
        with autocast(device):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=place,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        tokens, chances = sample(output.logits[:, -1].float(), rule, source.at(alive, step))
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
