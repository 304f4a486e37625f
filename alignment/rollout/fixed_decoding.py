"""Decoding on a GPU: the same steps as the plain loop's, in tensors of fixed size.

On a GPU the plain loop is bound by the host: it launches over a thousand kernels a token, asks three times a token what
the GPU has found, and its cache grows, so that no step is like the one before. Here a step has the shape of the step
before, reads and writes tensors that stay where they are, and moves on by itself; the host asks every few tokens who is
still speaking. So a step can be a CUDA graph (graphs.py). Once half of the rows have stopped, the rest moves to the
front, and steps are half as wide.

Each response has the same random numbers here as there, so the tokens are the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from alignment.data.batch import position_ids
from alignment.models.device import autocast
from alignment.rollout.batches import Generated, left_pad
from alignment.rollout.fixed_cache import FixedCache
from alignment.rollout.graphs import Graphs
from alignment.rollout.sampling import Numbers, Sampling, sample

ASKED_EVERY = 8  # tokens between two looks at who is still speaking: the host waits for the GPU there
FEWEST = 8  # rows: fewer are not decoded any faster
ALIGNED = 64  # tokens: attention is quickest with masks of a round number
PARTS = 4  # lengths at which steps read the cache, at most: a graph each
PREFILL = 16_384  # prompt tokens in one pass, about: their activations lie beside the cache


class DecodeRunner:
    """Decodes up to `rows` prompts with `most` tokens of a reply each; holds all that the steps read and write.

    It does not hold the model; it counts on the model's weights to stay where they are.
    """

    def __init__(self, model: Any, rule: Sampling, rows: int, length: int, most: int, *, graphs: bool = True) -> None:
        """`length`: of the longest prompt with its reply."""
        device = model.device
        self.rule, self.rows, self.most, self.device = rule, rows, most, device
        self.length = _round_up(length, ALIGNED)
        self.weights = addresses(model)
        self.cache = FixedCache(model.config, rows, self.length, device)
        self.graphs = Graphs(wanted=graphs and device.type == "cuda")
        self.stops = torch.tensor(rule.stops, device=device)  # (S,)
        self.slots = torch.arange(self.length, device=device)  # (T,)
        self.mask = torch.zeros(rows, self.length, dtype=torch.bool, device=device)  # (B, T) True on tokens
        self.tokens = torch.full((rows, 1), rule.pad, device=device)  # (B, 1) what each row said last
        self.places = torch.zeros(rows, 1, dtype=torch.long, device=device)  # (B, 1) its position
        self.alive = torch.arange(rows, device=device)  # (B,) which response a row is
        self.going = torch.zeros(rows, dtype=torch.bool, device=device)  # (B,)
        self.step = torch.zeros(1, dtype=torch.long, device=device)  # (1,) tokens of each response so far
        self.numbers = torch.zeros(rows, most, dtype=torch.float64, device=device)  # (B, R) in [0, 1)
        self.responses = torch.full((rows, most), rule.pad, device=device)  # (B, R)
        self.logprobs = torch.zeros(rows, most, device=device)  # (B, R)

    def serves(self, model: Any, rule: Sampling, rows: int, length: int, most: int) -> bool:
        """Whether a decode of that size fits on it, and its graphs still find the weights."""
        large = self.rows >= rows and self.length >= length and self.most >= most
        return large and self.rule == rule and self.weights == addresses(model)

    def decode(self, model: Any, most: int, prompts: Sequence[Sequence[int]], source: Numbers) -> Generated:
        """One response of up to `most` tokens to each prompt."""
        size, longest = len(prompts), max(map(len, prompts))
        width = _narrowest(self.rows, size)
        self._begin(source.all(size, most))
        self._read(model, prompts, width)
        for step in range(1, most):
            if step % ASKED_EVERY == 0:
                speaking = int(self.going[:width].sum())
                if not speaking:
                    break
                width = self._narrow(width, speaking, longest + step - 1)
            # the token that is read now is number `step` of its response
            self._advance(model, width, self._shown(longest + step))
        return self._said(size, most)

    def _begin(self, numbers: Tensor) -> None:
        size, most = numbers.shape
        self.numbers[:size, :most] = numbers
        self.responses.fill_(self.rule.pad)
        for blank in (self.logprobs, self.mask, self.going, self.step, self.places):
            blank.zero_()
        torch.arange(self.rows, out=self.alive)

    def _read(self, model: Any, prompts: Sequence[Sequence[int]], width: int) -> None:
        """Write the prompts into the cache, some rows at a time, and draw each response's first token."""
        ids, mask = left_pad(prompts, self.rule.pad, self.device)
        size, length = ids.shape
        places = position_ids(mask)
        said = []
        for rows in _slices(size, max(1, PREFILL // length)):
            self.cache.show_prompt(rows, length)
            said.append(self._logits(model, ids[rows], mask[rows], places[rows]))
        self.mask[:size, :length], self.places[:size] = mask, places[:, -1:]
        self.going[:size] = True
        self.cache.place.fill_(length - 1)
        self._take(width, F.pad(torch.cat(said), (0, 0, 0, width - size)))

    def _advance(self, model: Any, width: int, length: int) -> None:
        """One more token of each of the first `width` rows; `length`: how much of the cache is read."""

        def step() -> None:
            self.mask |= self.slots == self.cache.place
            self.cache.show_step(width, length)
            mask = self.mask[:width, :length]
            self._take(width, self._logits(model, self.tokens[:width], mask, self.places[:width]))

        self.graphs.run((width, length), step)

    def _logits(self, model: Any, ids: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        """Of the token after each row: `(b, V)`."""
        with autocast(self.device, cached=False):  # a cast that a graph made does not outlive it
            found: Tensor = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return found

    def _take(self, width: int, logits: Tensor) -> None:
        """Draw a token for each of the first `width` rows, and move on, with the very last operations.

        Nothing here asks the GPU what it has found: an index is a tensor of one dimension at least, and stops are
        compared, not looked up (`torch.isin` sorts where there are many).
        """
        rule, rows, going = self.rule, self.alive[:width], self.going[:width]
        uniform = self.numbers.index_select(1, self.step).index_select(0, rows)
        tokens, chances = sample(logits.float(), rule, uniform)
        tokens = torch.where(going, tokens, rule.pad)
        here = (rows, self.step.expand(width))
        self.responses.index_put_(here, tokens)
        self.logprobs.index_put_(here, torch.where(going, chances, 0.0))
        going &= (tokens[:, None] != self.stops).all(dim=1)
        self.tokens[:width] = tokens[:, None]
        self.places[:width] += 1
        self.step += 1
        self.cache.place += 1

    def _narrow(self, width: int, speaking: int, length: int) -> int:
        """Steps half as wide, as often as the rows that speak have room: those go to the front, `length` tokens of
        each."""
        narrow = _narrowest(width, speaking)
        if narrow < width:
            kept = self.going[:width].int().argsort(descending=True, stable=True)[:narrow]
            self.cache.keep(kept, length)
            for whole in (self.mask, self.tokens, self.places, self.alive, self.going):
                whole[:narrow] = whole[kept]
        return narrow

    def _shown(self, tokens: int) -> int:
        """How much of the cache is read for that many."""
        return min(self.length, _round_up(tokens, _round_up(-(-self.length // PARTS), ALIGNED)))

    def _said(self, size: int, most: int) -> Generated:
        """What was written, up to each response's first stop."""
        responses, logprobs = self.responses[:size, :most], self.logprobs[:size, :most]
        stops = (responses[:, :, None] == self.stops).any(dim=2)
        finished = stops.any(dim=1)
        lengths = torch.where(finished, stops.int().argmax(dim=1) + 1, most)  # argmax: the first of them
        width = int(lengths.max())
        mask = torch.arange(width, device=self.device) < lengths[:, None]
        return Generated(responses[:, :width].clone(), mask, finished, logprobs[:, :width].clone())


def addresses(model: Any) -> tuple[int, ...]:
    """Where the model's numbers lie."""
    return tuple(tensor.data_ptr() for tensors in (model.parameters(), model.buffers()) for tensor in tensors)


def _narrowest(width: int, rows: int) -> int:
    """`width`, halved as often as `rows` still have room."""
    while (half := -(-width // 2)) >= max(rows, FEWEST):
        width = half
    return width


def _slices(size: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, size)) for start in range(0, size, rows))


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
