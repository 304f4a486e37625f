"""Blocks of few tokens change no log-probability, and gradients by rounding alone."""

import runpy

import pytest
import torch
import trl.kernels.chunked_logprob as head
import trl.trainer.utils
from torch import Tensor

from alignment.cpu.tiles import use_small_tiles
from alignment.shared.memory import KERNEL_TOKENS, TILE_TOKENS, TILE_WORDS

TOKENS, WIDTH, WORDS = 2 * TILE_TOKENS + 90, 32, 500


def terms() -> list[Tensor]:
    """Log-probabilities, entropies, and the gradients of states and weights."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=draw).requires_grad_()
    weight = torch.randn(WORDS, WIDTH, generator=draw).requires_grad_()
    targets = torch.randint(WORDS, (TOKENS,), generator=draw)
    found = head.ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, 32768)  # type: ignore[no-untyped-call]
    found[0].sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return [found[0].detach(), found[1].detach(), hidden.grad, weight.grad]


def test_they_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TOKEN_CHUNK_SIZE", 4096)  # the library's own, and put back
    large = terms()
    use_small_tiles()
    small = terms()
    for ours, theirs in zip(small[:2], large[:2], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(small[2:], large[2:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_estimate_knows_the_librarys_blocks() -> None:
    assert trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE == TILE_WORDS
    assert runpy.run_path(head.__file__)["TOKEN_CHUNK_SIZE"] == KERNEL_TOKENS
