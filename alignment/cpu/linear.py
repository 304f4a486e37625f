"""Linear layers that multiply with oneDNN on a CPU.

PyTorch's float32 `F.linear` goes to MKL, which takes its AVX2 path on an AMD processor: half of the machine's rate.
oneDNN uses AVX-512 where there is any, at up to twice MKL's rate; on an Intel processor both are about equal. Its
product of tensors as they lie is the operator that `torch.compile` emits for a linear layer; it has no gradient of its
own, so ours is written out here.

oneDNN compiles a kernel for each shape and keeps up to 1,024 of them, half a megabyte each: with lengths as they come a
run grows by hundreds of megabytes. So only products of a round number of rows go there (`rounded`). Rows are filled up
here unless that makes them half as many again; callers that choose their own lengths (forward.py) spare the copy.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 64  # the rows of a product come in multiples of this
MOST_FILLED = 1.5  # rows after filling for each row before; MKL takes as long as oneDNN for twice as many
LEAST_WEIGHTS = 2**14  # smaller layers gain nothing
FEW_ROWS, FEW_ROWS_WEIGHTS = 16, 2**17  # the same where fewer than ROWS are multiplied, without gradient


class CPULinear(nn.Linear):
    """An `nn.Linear` with the same weights, names and gradients."""

    def forward(self, input: Tensor) -> Tensor:
        rows = _rows(input)
        if _is_decoding(input, self.weight):
            return _product(input, self.weight, self.bias, rows + -rows % FEW_ROWS)
        if not _worth_it(input, self.weight):
            return super().forward(input)
        product: Tensor = _Linear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product


class _Linear(torch.autograd.Function):
    """`F.linear` of input `(..., I)`, weight `(O, I)` and bias `(O,)` or None, and its gradient, by oneDNN."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _product(input, weight, bias, rounded(_rows(input)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        rows = rounded(_rows(grad))
        wanted, filled = ctx.needs_input_grad, _filled(grad, rows)  # (rows, O)
        return (
            _product(filled, weight.T, None, rows).resize_(input.shape) if wanted[0] else None,
            _product(filled.T, _filled(input, rows).T, None, filled.shape[1]) if wanted[1] else None,
            filled.sum(dim=0) if wanted[2] else None,
        )


def _product(input: Tensor, weight: Tensor, bias: Tensor | None, rows: int) -> Tensor:
    """`(..., O)`; multiplied as `rows` rows, of which the last are cut off in place: a view may not be changed."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(_filled(input, rows), weight, bias, "none", [], "")
    return found.resize_(*input.shape[:-1], len(weight))


def _filled(input: Tensor, rows: int) -> Tensor:
    """`(..., I)` as `(rows, I)`, with zeros after the last one."""
    flat = input.reshape(-1, input.shape[-1])
    return F.pad(flat, (0, 0, 0, rows - len(flat))) if rows > len(flat) else flat


def _rows(input: Tensor) -> int:
    return input.numel() // input.shape[-1]


def speed_up(model: nn.Module) -> None:
    """Let every large enough linear layer of a model on the CPU multiply with oneDNN; its weights stay in place."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu":
            module.__class__ = CPULinear  # not a copy: optimizers, adapters and hooks know the module itself


def rounded(length: int, rows: int = 1) -> int:
    """A length from `length` on with which `rows` of it are a round number of rows: the least, or, among large
    numbers, one of eight between a power of 2 and the next, so that few shapes are seen whatever the lengths."""
    step = ROWS // math.gcd(rows, ROWS)
    while 16 * step * rows <= length * rows:
        step *= 2
    return -(-length // step) * step


def _is_decoding(input: Tensor, weight: Tensor) -> bool:
    """Few rows, one a sequence that is being written."""
    return (
        0 < _rows(input) < ROWS
        and weight.numel() >= FEW_ROWS_WEIGHTS
        and not torch.is_grad_enabled()
        and _is_float_on_cpu(input, weight)
    )


def _worth_it(input: Tensor, weight: Tensor) -> bool:
    rows = _rows(input)
    filled = 0 < rounded(rows) < MOST_FILLED * rows
    return filled and weight.numel() >= LEAST_WEIGHTS and _is_float_on_cpu(input, weight)


def _is_float_on_cpu(input: Tensor, weight: Tensor) -> bool:
    return input.dtype == weight.dtype == torch.float32 and input.device.type == "cpu"
