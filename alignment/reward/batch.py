"""Rankings as tensors: the K responses of each prompt side by side, the prompt itself once where that pays.

Axes: B rows, T tokens, N responses, M comparisons, V votes of K responses, L labels, G examples.

A shared row is `prompt response response ...`: each response sees the prompt and itself, at the positions
that it would have alone. Its linear layers read the prompt once instead of K times, its attention is a
square over all K responses instead of K small ones, so it is dearer for long responses to short prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from alignment.data.batch import pad_right
from alignment.reward.examples import Example

PAD, PROMPT = -1, 0  # segments of a row; its responses are 1, 2, ...
POOL = 16  # optimizer steps whose examples are drawn together and then grouped by length


@dataclass(frozen=True)
class Packed:
    """Responses after their prompts, ready for one forward pass."""

    input_ids: Tensor  # (B, T)
    segments: Tensor  # (B, T) PAD, PROMPT, or the number of the response in its row
    position_ids: Tensor  # (B, T)
    ends: Tensor  # (N,) where in the flattened (B T) each response's last token stands


@dataclass(frozen=True)
class RankingBatch(Packed):
    """What the loss asks of the N scores."""

    better: Tensor  # (M,) rows of the preferred responses among N
    worse: Tensor  # (M,) rows of the others
    targets: Tensor  # (M,) probability that `better` wins; 1/2 for a tie
    margins: Tensor  # (M,)
    weights: Tensor  # (M,) sum to the vote's weight over the comparisons of one vote
    members: Tensor  # (V, K) rows of a vote's responses among N, 0 where there is none
    ranks: Tensor  # (V, K) 0 = best, -1 where there is none
    vote_weights: Tensor  # (V,)
    label_rows: Tensor  # (L,)
    label_targets: Tensor  # (L,)
    label_weights: Tensor  # (L,)
    example_weights: Tensor  # (G,) their sum over an optimizer step is the losses' denominator

    def as_inputs(self) -> dict[str, Tensor]:
        """The fields by name, as the Trainer moves them between devices."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def collate_rankings(examples: Sequence[Example], pad_id: int, width: int | None = None) -> RankingBatch:
    """Examples to one batch. `width`: the model's, if it may share prompts and the cheaper layout is wanted."""
    packed = pack(examples, pad_id, share=width is not None and sharing_pays(examples, width))
    starts = [0]  # of each example's responses among N
    for example in examples:
        starts.append(starts[-1] + len(example.responses))
    placed = list(zip(starts, examples, strict=False))
    pairs = [(s + c.better, s + c.worse, c.target, c.margin, c.weight) for s, e in placed for c in e.comparisons]
    votes = [(s, vote) for s, e in placed for vote in e.votes]
    labels = [(s + row, target, weight) for s, e in placed for row, target, weight in e.labels]
    return RankingBatch(
        **vars(packed),
        better=_long([p[0] for p in pairs]),
        worse=_long([p[1] for p in pairs]),
        targets=_float([p[2] for p in pairs]),
        margins=_float([p[3] for p in pairs]),
        weights=_float([p[4] for p in pairs]),
        members=_table([[s + k for k in range(len(v.ranks))] for s, v in votes], 0),
        ranks=_table([list(v.ranks) for _, v in votes], -1),
        vote_weights=_float([v.weight for _, v in votes]),
        label_rows=_long([label[0] for label in labels]),
        label_targets=_float([label[1] for label in labels]),
        label_weights=_float([label[2] for label in labels]),
        example_weights=_float([e.weight for e in examples]),
    )


def pack(examples: Sequence[Example], pad_id: int, *, share: bool) -> Packed:
    """One row an example with its prompt once, or one row a response."""
    rows = [_shared(e) for e in examples] if share else [_alone(e, ids) for e in examples for ids in e.responses]
    input_ids = pad_right([row[0] for row in rows], pad_id)
    width = input_ids.shape[1]
    return Packed(
        input_ids,
        pad_right([row[1] for row in rows], PAD),
        pad_right([row[2] for row in rows], 0),
        _long([number * width + end for number, row in enumerate(rows) for end in row[3]]),
    )


def sharing_pays(examples: Sequence[Example], width: int) -> bool:
    """Whether shared rows cost less: linear layers 24 width^2 a token and layer, attention 4 width T (each forward)."""

    def cost(rows: int, longest: int) -> int:
        return rows * longest * (6 * width + longest)

    alone = max(len(e.prompt_ids) + max(map(len, e.responses)) for e in examples)
    return cost(len(examples), max(e.tokens for e in examples)) < cost(sum(len(e.responses) for e in examples), alone)


def sees(segments: Tensor) -> Tensor:
    """Which token may look at which: `(B, 1, T, T)`, True = sees. Padding sees padding, so that no row is empty."""
    query, key = segments[:, :, None], segments[:, None, :]
    earlier = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == PROMPT)) & earlier)[:, None]


class StepSampler(torch.utils.data.Sampler[int]):
    """Examples for whole optimizer steps: drawn at random, the steps made of like lengths, micro-batches too.

    A function of seed and epoch alone, so that a resumed run sees what the first one would have seen,
    and the examples of a step do not depend on how it is cut into micro-batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pool = POOL * self.batch_size
        steps: list[list[int]] = []
        for start in range(0, len(order), pool):
            drawn = sorted(order[start : start + pool], key=lambda i: -self.lengths[i])
            steps += [drawn[i : i + self.batch_size] for i in range(0, len(drawn), self.batch_size)]
        whole = [step for step in steps if len(step) == self.batch_size]
        short = [step for step in steps if len(step) < self.batch_size]  # at most one; it must come last
        for number in torch.randperm(len(whole), generator=generator).tolist():
            yield from whole[number]
        for step in short:
            yield from step


def _shared(example: Example) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, segments, positions and ends of the prompt with all its responses."""
    start = len(example.prompt_ids)
    ids, segments, positions, ends = list(example.prompt_ids), [PROMPT] * start, list(range(start)), []
    for number, response in enumerate(example.responses, start=1):
        ids += response
        segments += [number] * len(response)
        positions += range(start, start + len(response))
        ends.append(len(ids) - 1)
    return ids, segments, positions, ends


def _alone(example: Example, response: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    ids = example.prompt_ids + response
    return ids, [PROMPT] * len(ids), list(range(len(ids))), [len(ids) - 1]


def _table(rows: list[list[int]], fill: int) -> Tensor:
    return pad_right(rows, fill) if rows else torch.zeros(0, 1, dtype=torch.long)


def _long(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def _float(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
