"""How a token is drawn of a model's logits, and where the random number for it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data.stops import stop_ids


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and which of them end a reply."""

    temperature: float
    top_p: float
    stops: tuple[int, ...]
    pad: int


def sampling_of(model: Any, tokenizer: PreTrainedTokenizerBase, temperature: float, top_p: float) -> Sampling:
    """That of a model's replies."""
    return Sampling(temperature, top_p, tuple(stop_ids(model, tokenizer)), tokenizer.pad_token_id)


@dataclass(frozen=True)
class Numbers:
    """Where a batch's random numbers come from."""

    generator: torch.Generator
    numbers: torch.Tensor | None  # (B, R) in [0, 1): of each token; None: from the generator, in turn

    def at(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        """One for each of the rows that are going: `(b, 1)`."""
        if self.numbers is not None:
            return self.numbers[rows, step, None]
        return self._rand(len(rows), 1)

    def all(self, rows: int, tokens: int) -> torch.Tensor:
        """One for each token of each row, at once: `(B, R)`."""
        return self._rand(rows, tokens) if self.numbers is None else self.numbers

    def _rand(self, rows: int, tokens: int) -> torch.Tensor:
        return torch.rand(rows, tokens, generator=self.generator, device=self.generator.device, dtype=torch.float64)


def sample(logits: torch.Tensor, rule: Sampling, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token a row from `(B, V)` logits; its log-probability is that of the whole tempered distribution."""
    logp = torch.log_softmax(logits / rule.temperature, dim=-1)
    weights = logp.exp() if rule.top_p >= 1 else _nucleus(logp.exp(), rule.top_p)
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
