"""The gallery's measure finds what it is there for: positions, a window and a slope, each broken once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers.models.bloom import modeling_bloom

from alignment.cpu import packing
from alignment.models import forward
from tests.gallery.test_gallery import ROWS, close, own_logprobs, sequences_of
from tests.support.alignment import families


def count_through(model: Any, _: pytest.MonkeyPatch) -> None:
    """A packed row whose sequences do not begin at 0 each. Rotary positions, being relative, do not show it."""
    packing.enable(model)
    assert packing.is_packed(model)
    own = model.base_model.forward

    def forward_(**given: Any) -> Any:
        return own(**given | {"position_ids": torch.arange(given["input_ids"].shape[1])[None]})

    model.base_model.forward = forward_


def widen(model: Any, _: pytest.MonkeyPatch) -> None:
    """A window of one token more."""
    model.config.sliding_window += 1


def tilt(model: Any, patch: pytest.MonkeyPatch) -> None:
    """ALiBi's slopes twice as steep."""
    own = modeling_bloom._get_alibi_slopes
    patch.setattr(modeling_bloom, "_get_alibi_slopes", lambda *given: 2 * own(*given))


@pytest.mark.parametrize(("family", "broken"), [("gpt2", count_through), ("mistral", widen), ("bloom", tilt)])
@torch.no_grad()
def test_what_is_broken_is_found(
    family: str, broken: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = families.causal(family, **({"n_positions": 256} if family == "gpt2" else {}))
    expected = [own_logprobs(model, *pair) for pair in ROWS]

    def difference() -> float:
        found = forward.response_logprobs(model, sequences_of(ROWS), 1.0)
        return max(float((found[i, : len(e)] - e).abs().max()) for i, e in enumerate(expected))

    close({}, "logprobs", difference())
    broken(model, monkeypatch)
    with pytest.raises(AssertionError, match="logprobs: "):
        close({}, "logprobs", difference())
