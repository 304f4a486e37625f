"""Prompts side by side, and the responses that come of them: what every way of decoding takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from alignment.data.batch import pad_right


def left_pad(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as `(B, P)` ids and mask (True on tokens), padded on the left so that all end together."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, mask


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


def in_order(parts: list[Generated], rows: list[int], pad: int) -> Generated:
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
