"""Batches of tensors: a shape on every field, and how lists of token ids become them.

Axes: B sequences, T all tokens, R response tokens. A sequence is its prompt followed at once by its
response, padded on the right: positions need no shift, and a causal model cannot see the padding.
Prompts are left-padded only inside a rollout engine. Batches of rankings are in `reward.batch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Prompts and their responses. A response's stop token is its last token."""

    input_ids: Tensor  # (B, T) prompt, response, padding
    prompt_lengths: Tensor  # (B,)
    response_lengths: Tensor  # (B,) at least 1
    finished: Tensor  # (B,) True = the response ended with the stop token

    @classmethod
    def join(
        cls, prompts: Sequence[list[int]], responses: Sequence[list[int]], finished: Sequence[bool], pad_id: int
    ) -> Sequences:
        """One row for each prompt and its response; raises ValueError for an empty prompt or response."""
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            if not prompt or not response:
                raise ValueError(f"row {row}: {len(prompt)} prompt and {len(response)} response tokens; each needs one")
        return cls(
            pad_right([p + r for p, r in zip(prompts, responses, strict=True)], pad_id),
            torch.tensor([len(p) for p in prompts]),
            torch.tensor([len(r) for r in responses]),
            torch.tensor(list(finished), dtype=torch.bool),
        )

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def lengths(self) -> Tensor:
        """Tokens of prompt and response together: `(B,)`."""
        return self.prompt_lengths + self.response_lengths

    @property
    def attention_mask(self) -> Tensor:
        """True on tokens, False on padding: `(B, T)`."""
        return _below(self.lengths, self.input_ids.shape[1])

    @property
    def response_mask(self) -> Tensor:
        """True on the tokens of each response: `(B, R)`, R the longest response."""
        return _below(self.response_lengths, int(self.response_lengths.max()))

    def positions(self) -> Tensor:
        """Where in `input_ids` response token t stands: `(B, R)`; past the response, its last token."""
        offsets = torch.arange(int(self.response_lengths.max()), device=self.input_ids.device)
        return self.prompt_lengths[:, None] + offsets.minimum(self.response_lengths[:, None] - 1)

    def split(self) -> list[tuple[list[int], list[int]]]:
        """Ids of prompt and response of each row, without padding."""
        lengths = self.prompt_lengths.tolist(), self.response_lengths.tolist()
        return [(ids[:p], ids[p : p + r]) for ids, p, r in zip(self.input_ids.tolist(), *lengths, strict=True)]

    def select(self, rows: Tensor) -> Sequences:
        """The given rows, without the padding that only other rows needed."""
        longest = int(self.lengths[rows].max())
        return Sequences(
            self.input_ids[rows, :longest], self.prompt_lengths[rows], self.response_lengths[rows], self.finished[rows]
        )

    def to(self, device: torch.device) -> Sequences:
        return Sequences(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Rollout:
    """Responses and all that was recorded when they were sampled."""

    sequences: Sequences  # B rows
    old_logprobs: Tensor  # (B, R) log-probability of each token under the policy that sampled it
    ref_logprobs: Tensor  # (B, R) the same under the reference
    values: Tensor  # (B, R) the critic's value of the state in which the token was chosen
    scores: Tensor  # (B,) what is to be maximised: the reward model's, scaled, clipped, guarded (score_shaping.py)
    raw_scores: Tensor  # (B,) the reward model's, its reference answers at 0
    disagreement: Tensor | None = None  # (B,) deviation of the members' scores; None: the reward model is one model
    sampled_logprobs: Tensor | None = None  # (B, R) as the rollout engine gave them; None: it was our forward pass

    @property
    def mask(self) -> Tensor:
        """True on response tokens: `(B, R)`."""
        return self.sequences.response_mask


def pad_right(rows: Sequence[list[int]], pad_id: int) -> Tensor:
    """Lists of ids to `(B, T)`."""
    longest = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], dtype=torch.long)


def by_length(lengths: Sequence[int] | Tensor, size: int) -> Iterator[Tensor]:
    """Row numbers in groups of at most `size` of similar length, longest first (memory fails early, not late)."""
    order = torch.as_tensor(lengths).cpu().argsort(descending=True, stable=True)
    yield from torch.split(order, size)


def position_ids(mask: Tensor) -> Tensor:
    """Positions `(B, T)` that count real tokens only, whichever side of the mask is padding; never below 0."""
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def _below(lengths: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=lengths.device) < lengths[:, None]
