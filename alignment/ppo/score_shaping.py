"""From what the reward model says to what PPO maximises: scale, clip, missing stop tokens, guards.

Pure functions. Axes: B sequences, R response tokens. The order is fixed: the reward model's score is
normalised, clipped, replaced or lowered where the stop token is missing; then the guards take their share,
so that no clipping hides them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alignment.data.batch import Sequences
from alignment.shared.config import PPOConfig, RLOOConfig


def shape_scores(
    raw: Tensor, sequences: Sequences, config: PPOConfig | RLOOConfig, mean: float = 0.0, std: float = 1.0
) -> Tensor:
    """The reward model's scores `(B,)`, its reference answers at 0, as PPO sees them: `(B,)`."""
    scores = (raw - mean) / std
    if config.score_clip is not None:
        scores = scores.clamp(-config.score_clip, config.score_clip)
    if config.missing_eos == "replace":
        scores = torch.where(sequences.finished, scores, config.missing_eos_score)
    elif config.missing_eos == "subtract":
        scores = torch.where(sequences.finished, scores, scores - config.missing_eos_penalty)
    if config.length_penalty:
        scores = scores - config.length_penalty * (sequences.response_lengths - config.length_free).clamp(min=0)
    if config.repetition_penalty:
        scores = scores - config.repetition_penalty * repeated_share(sequences, config.repetition_ngram)
    return scores


def repeated_share(sequences: Sequences, n: int) -> Tensor:
    """Of each response's n-grams, the share that stand in it before: `(B,)`; 0 for fewer than two of them."""
    shares = []
    for _, ids in sequences.split():
        grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
        shares.append(1.0 - len(set(grams)) / len(grams) if grams else 0.0)
    return torch.tensor(shares, device=sequences.input_ids.device)
