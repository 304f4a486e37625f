"""Micro-batches one after another or, on a CPU, two at a time, each on half of the cores.

Two products of a few hundred rows, each on its own half, are done sooner than one after the other on all cores, and
what is too small to be cut keeps every core busy. Which thread gets a row follows from the lengths alone, and sums are
taken in one order: the same number of cores gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from alignment.data.batch import Sequences, by_length
from alignment.models.forward import Model
from alignment.shared.policy.ppo_config import CPU_LANES

R = TypeVar("R")
Loss = Callable[[], tuple[Tensor, dict[str, Tensor]]]  # one model's, computed when it is called
Losses = Callable[[Tensor], Sequence[Loss]]


def in_micro_batches(
    compute: Callable[[Sequences], Tensor], sequences: Sequences, size: int, lanes: int = CPU_LANES
) -> Tensor:
    """`compute` without gradient over groups of similar length, put back in order: `(B, R)`."""
    out = torch.zeros(sequences.response_mask.shape, device=sequences.input_ids.device)

    def work(lane: int, groups: Sequence[Tensor]) -> None:
        with torch.no_grad():  # a thread's own
            for rows in groups:
                part = compute(sequences.select(rows))
                out[rows, : part.shape[1]] = part

    _side_by_side(work, sequences.lengths, size, lanes)
    return out


def accumulate(
    models: Sequence[Model], lengths: Tensor, size: int, losses: Losses, lanes: int = CPU_LANES
) -> dict[str, float]:
    """Add to the gradients of `models` those of all rows, of `lengths` `(B,)` tokens, `size` rows at a time; return the
    sums of the metrics' shares.

    `losses(rows)` gives one for each model, with its shares of metrics: each is computed when the one before is
    differentiated, so that the activations of one model alone are held.
    """
    weights = [[weight for weight in model.parameters() if weight.requires_grad] for model in models]
    theirs: dict[Tensor, Tensor] = {}  # the other lane's gradients: two threads must not add to one sum

    def work(lane: int, mine: Sequence[Tensor]) -> dict[str, float]:
        totals: dict[str, float] = {}
        for rows in mine:
            for compute, trained in zip(losses(rows), weights, strict=True):
                loss, shares = compute()
                if lane == 0:
                    loss.backward()  # type: ignore[no-untyped-call]
                else:
                    _add_gradients(theirs, loss, trained)
                for name, share in shares.items():
                    totals[name] = totals.get(name, 0.0) + share.item()
        return totals

    found = _side_by_side(work, lengths, size, lanes)
    for weight, gradient in theirs.items():
        weight.grad = gradient.clone() if weight.grad is None else weight.grad.add_(gradient)
    return {name: sum(totals[name] for totals in found) for name in found[0]}


def _add_gradients(sums: dict[Tensor, Tensor], loss: Tensor, weights: Sequence[Tensor]) -> None:
    """Not in place: autograd may hand out one tensor for two weights."""
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
        if gradient is not None:
            sums[weight] = sums[weight] + gradient if weight in sums else gradient


def _side_by_side(
    work: Callable[[int, Sequence[Tensor]], R], lengths: Tensor, size: int, lanes: int = CPU_LANES
) -> list[R]:
    """`work(lane, its groups of rows)` of each lane, in lane order; of one, on all cores, where two do not pay."""
    cores = torch.get_num_threads()
    if lengths.device.type != "cpu" or cores < CPU_LANES or lanes < CPU_LANES or len(lengths) <= size:
        return [work(0, list(by_length(lengths, size)))]
    assert CPU_LANES == 2, "the rows are dealt to two"
    # The longest row goes to one lane, the next two to the other, two to the first, ...: both get about as much.
    (order,) = by_length(lengths, len(lengths))
    places = torch.arange(len(order)) % (2 * CPU_LANES)
    halves = [order[(places == a) | (places == b)] for a, b in ((0, 3), (1, 2))]
    mine, other = (list(torch.split(half, size)) for half in halves)

    def on_its_half(lane: int, groups: Sequence[Tensor]) -> R:
        torch.set_num_threads(cores // CPU_LANES)  # of this thread's kernels
        return work(lane, groups)

    second = _second_thread().submit(on_its_half, 1, other)
    try:
        first = on_its_half(0, mine)
    finally:
        wait([second])
        torch.set_num_threads(cores)
    return [first, second.result()]


@cache
def _second_thread() -> ThreadPoolExecutor:
    """One, kept: a kernel library makes its own threads anew for each thread that calls it."""
    return ThreadPoolExecutor(CPU_LANES - 1, thread_name_prefix="micro-batches")


os.register_at_fork(after_in_child=_second_thread.cache_clear)  # threads are not copied
