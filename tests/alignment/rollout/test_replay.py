"""Steps that are done again without Python, as a CUDA graph does them, against the plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from alignment.models.adapters import add_adapters
from alignment.models.sharing import DecodingCopy
from alignment.rollout import fixed_decoding, plain_decoding
from alignment.rollout.batches import Generated
from alignment.rollout.fixed_decoding import DecodeRunner
from alignment.rollout.sampling import Numbers, Sampling
from alignment.rollout.streams import draws_of
from alignment.shared.config import LoRAConfig
from tests.support.alignment import families
from tests.support.alignment.replay import Replayed

LIMIT, LENGTH, STOP = 30, 44, 2
RULE = Sampling(1.0, 0.95, (STOP,), 1)
BATCHES = [
    [[6 + (i * 7 + j * 3 + k) % 20 for j in range(1 + (i + k) % (6 + 4 * k))] for i in range(20)] for k in (0, 1)
]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_decoding, "ALIGNED", 4)


def runner_of(model: Any) -> tuple[DecodeRunner, Replayed]:
    runner = DecodeRunner(model, RULE, 20, LENGTH, LIMIT)

    def state() -> list[Tensor]:
        cached = [whole for layer in runner.cache.layers for whole in (layer.keys, layer.values) if whole is not None]
        return [value for value in vars(runner).values() if isinstance(value, Tensor)] + [runner.cache.place, *cached]

    runner.graphs = replayed = Replayed(state)
    return runner, replayed


def decoded(model: Any, batch: int, runner: DecodeRunner | None = None) -> Generated:
    numbers = Numbers(torch.Generator(), draws_of(0, batch)(range(20), LIMIT))
    with torch.no_grad():
        if runner is None:
            return plain_decoding.decode(model, LIMIT, RULE, BATCHES[batch], numbers)
        return runner.decode(model, LIMIT, BATCHES[batch], numbers)


def assert_same(found: Generated, expected: Generated) -> None:
    assert torch.equal(found.responses, expected.responses)
    assert torch.equal(found.finished, expected.finished)
    torch.testing.assert_close(found.logprobs, expected.logprobs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "opt", "bloom", "mistral", "gemma2", "qwen2", "mixtral", "deepseek_v3"]
)
def test_replayed_steps_say_what_the_plain_loop_says(family: str) -> None:
    """Two batches with prompts of other lengths on one runner: the second is replayed almost alone."""
    model = families.causal(family)
    runner, replayed = runner_of(model)
    for batch in (0, 1, 0):
        assert_same(decoded(model, batch, runner), decoded(model, batch))
    assert len(replayed) > 3
    assert replayed.replays > 3 * (LIMIT - 1) - 12


def test_replayed_steps_read_the_weights_of_now() -> None:
    """As in PPO: adapters learn in place, the copy that decodes is renewed, the runner and its steps stay."""
    model: Any = add_adapters(families.causal("llama"), LoRAConfig(rank=2), "CAUSAL_LM", 0).eval()
    copy = DecodingCopy()
    runner, replayed = runner_of(copy.of(model))
    before = decoded(copy.of(model), 0, runner)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.3)
    assert runner.serves(copy.of(model), RULE, 20, LENGTH, LIMIT)
    after, count = decoded(copy.of(model), 0, runner), replayed.replays
    assert count > LIMIT
    assert not torch.equal(before.responses, after.responses)
    assert_same(after, decoded(model, 0))
