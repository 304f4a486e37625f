"""A batch as one row of tokens: the same numbers and gradients as each sequence alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from alignment.cpu import packing
from alignment.data.batch import Sequences
from alignment.models import forward
from alignment.models.adapters import add_adapters
from alignment.ppo.update import update
from alignment.shared.config import LoRAConfig
from tests.support.alignment import small_ppo, tiny

ROWS = Sequences.join(
    [[6, 7, 8], [9], [6, 7, 8, 9, 10]], [[11, 12, 2], [13, 14, 15, 16], [2]], [True, False, True], pad_id=1
)


def gpt2() -> torch.nn.Module:
    """Counts positions one by one: a wrong one shows."""
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=26, n_embd=32, n_layer=2, n_head=2, n_positions=32, initializer_range=0.4)
    return GPT2LMHeadModel(shape).eval()


def mistral(**changes: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    shape = tiny.config(num_key_value_heads=1).to_dict()
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return MistralForCausalLM(
        MistralConfig(**{name: shape[name] for name in names}, num_key_value_heads=1, **changes)
    ).eval()


def logprobs_and_gradient(model: torch.nn.Module) -> list[torch.Tensor]:
    model.zero_grad()
    found = forward.response_logprobs(model, ROWS, 0.9)
    found.sin().sum().backward()
    return [found.detach(), *(weight.grad.clone() for weight in model.parameters() if weight.grad is not None)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("make", [tiny.causal, gpt2, lambda: mistral(sliding_window=None)])
def test_numbers_and_gradients_are_those_of_rows(make: Any) -> None:
    model = make()
    plain = logprobs_and_gradient(model)
    packing.enable(model)
    assert packing.is_packed(model)
    same(logprobs_and_gradient(model), plain)


def test_no_sequence_sees_another() -> None:
    model = tiny.causal()
    packing.enable(model)
    lengths = torch.tensor([3, 2])
    first, starts = packing.states(model, torch.tensor([[6, 7, 8], [9, 10, 0]]), lengths)
    second, _ = packing.states(model, torch.tensor([[11, 12, 13], [9, 10, 0]]), lengths)
    assert starts.tolist() == [0, 3]
    assert torch.equal(first[3:5], second[3:5])
    assert not torch.allclose(first[0:3], second[0:3])


def test_recomputed_activations_know_the_rows_too() -> None:
    model = tiny.causal().train()
    packing.enable(model)
    plain = logprobs_and_gradient(model)
    model.gradient_checkpointing_enable()
    same(logprobs_and_gradient(model), plain)


def test_adapters_are_at_work_in_it() -> None:
    adapted = add_adapters(tiny.causal(), LoRAConfig(rank=2), "CAUSAL_LM", seed=0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.1)
    plain = logprobs_and_gradient(adapted)
    packing.enable(adapted.get_base_model())
    same(logprobs_and_gradient(adapted), plain)


def test_a_model_that_sees_a_window_only_stays_as_it_is() -> None:
    model = mistral(sliding_window=4)
    packing.enable(model)
    assert not packing.is_packed(model)
    eager = tiny.causal()
    eager.set_attn_implementation("eager")
    packing.enable(eager)
    assert eager.config._attn_implementation == "eager"


def test_it_can_be_laid_aside_and_is_not_written_down(tmp_path: Path) -> None:
    model = tiny.causal()
    packing.enable(model)
    with packing.disabled(model):
        assert not packing.is_packed(model)
    assert packing.is_packed(model)
    model.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()


def test_ppo_is_packed_and_its_first_ratio_is_one(folders: Path) -> None:
    cast, config = small_ppo.cast_of(folders, inner_epochs=1)
    assert all(packing.is_packed(model) for model in (cast.policy, cast.reference, cast.critic, cast.reward_model))
    policy, critic = small_ppo.learners(cast, config)
    metrics = update(cast, policy, critic, small_ppo.rollout_of(cast, config), config, torch.Generator())
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-6)
