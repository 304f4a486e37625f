"""What would go wrong on a GPU, found on a CPU that pretends to be one (tests/support/alignment/pretence.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import alignment.ppo.baselines.best_of_n
import alignment.ppo.baselines.rloo
import alignment.ppo.stage
import alignment.sample  # noqa: F401  # what a stage imports must be there before it is pretended
from alignment.data.batch import Sequences
from alignment.models.device import autocast
from alignment.models.forward import response_logprobs, response_values, score_rows
from alignment.models.load import load_base, load_causal_lm, load_reward_model, load_scorer, save_adapter, save_model
from alignment.ppo.roles import ActorCritic, policy_logprobs, reference_logprobs
from alignment.reward import forward as reward_forward
from alignment.sft import head_in_float32
from alignment.shared import stages
from alignment.shared.config import Baseline, LoRAConfig, PPOConfig, Stage
from alignment.shared.events import NullReporter
from tests.support.alignment import small_ppo, tiny
from tests.support.alignment.pretence import pretended_gpu

LORA = {"rank": 4}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"lora": LORA},
    {"lora": LORA, "gradient_checkpointing": True, "kl_in": "loss", "kl_estimator": "k2", "entropy_coef": 0.01},
]


@pytest.fixture
def gpu() -> Iterator[None]:
    with pretended_gpu():
        yield


@pytest.mark.parametrize("settings", VARIANTS)
def test_ppo_runs_to_its_end(folders: Path, gpu: None, settings: dict[str, Any]) -> None:
    result = small_ppo.run(folders, updates=2, **settings)
    first = result.details["curve"][0]
    assert abs(first["kl"]) < 1e-2  # the policy is the reference before the first step
    assert first["engine_gap"] < 0.05


def test_frozen_roles_that_rest_in_the_host_say_the_same(folders: Path, gpu: None) -> None:
    curves = [small_ppo.run(folders, updates=2, offload_frozen=rest).details["curve"] for rest in (False, True)]
    assert curves[0] == curves[1]
    cast, _ = small_ppo.cast_of(folders, offload_frozen=True)
    assert cast.resting is not None
    assert isinstance(cast.reward_model, torch.nn.Module)
    at_rest = [weight.data_ptr() for weight in cast.reward_model.parameters()]
    with cast.asking(cast.reward_model):
        assert not {weight.data_ptr() for weight in cast.reward_model.parameters()} & set(at_rest)
    assert [weight.data_ptr() for weight in cast.reward_model.parameters()] == at_rest


@pytest.mark.parametrize("stage", [Baseline.RLOO, Baseline.BEST_OF_N, Stage.SAMPLE])
def test_the_other_stages_that_sample_run_to_their_end(folders: Path, gpu: None, stage: Any) -> None:
    given = small_ppo.inputs_of(folders)
    settings = {"max_response_length": 8, "batch_size": 16}
    if stage is Baseline.RLOO:
        settings |= {"micro_batch_size": 16, "updates": 2, "max_length": 64}
    if stage is Stage.SAMPLE:
        given = {"models": {"sft": given["model"]}, "prompts": given["prompts"]}
    assert stages.run(stage, settings, given, folders / "out", NullReporter()).metrics


def test_frozen_weights_are_bfloat16_and_trained_ones_float32(folders: Path, gpu: None) -> None:
    cast, _ = small_ppo.cast_of(folders, lora=LORA)
    for model in (cast.policy, cast.critic):
        types = {weight.dtype for weight in model.parameters() if weight.requires_grad}
        assert types == {torch.float32}
    assert {weight.dtype for weight in cast.reward_model.parameters()} == {torch.bfloat16}


# ---------------------------------------------------------------- heads in float32


def test_the_head_adds_nothing_to_the_error_of_the_trunk(folders: Path) -> None:
    """A head in bfloat16 alone makes 2e-3 nats a token; its trunk here is float32."""
    model, rows = tiny.causal(), Sequences.join([[6, 7, 8]] * 4, [[9, 10, i] for i in range(11, 15)], [True] * 4, 1)
    exact = response_logprobs(model, rows, 1.0)
    states = model.model(input_ids=rows.input_ids).last_hidden_state
    model.model.forward = _saying(states)
    with pretended_gpu():
        found = response_logprobs(model, rows, 1.0)
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=1e-5)


def test_the_head_of_sft_adds_nothing_either(folders: Path) -> None:
    model, ids = tiny.causal(), torch.tensor([[6, 7, 8, 9, 10, 11]])
    states = model.model(input_ids=ids).last_hidden_state
    exact = torch.log_softmax(model.lm_head(states), -1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    model.model.forward = _saying(states)
    head_in_float32(model)
    with pretended_gpu(), autocast(torch.device("cuda")):
        found = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=1e-5)


def _saying(states: torch.Tensor) -> Any:
    """In place of a trunk's forward pass: these states `(B, T, H)`, as wide as the ids that it is given."""

    def forward(input_ids: torch.Tensor, **_: Any) -> Any:
        spare = input_ids.shape[1] - states.shape[1]
        return SimpleNamespace(last_hidden_state=torch.nn.functional.pad(states, (0, 0, 0, spare)))

    return forward


def test_as_many_scores_as_texts() -> None:
    """bfloat16 holds 128 numbers between 1 and 2."""
    torch.manual_seed(0)
    model, states = tiny.scorer(), torch.randn(254, 1, 32)
    rows = Sequences.join([[6]] * 254, [[7]] * 254, [True] * 254, 1)
    model.model.forward = _saying(states.expand(254, 2, 32))
    with pretended_gpu():
        assert len(set(response_values(model, rows)[:, 0].tolist())) == 254
        assert len(set(score_rows(model, [[6, 7]] * 254, 1, 254).tolist())) == 254


# ---------------------------------------------------------------- adapters on a bfloat16 base


@pytest.fixture
def moved(folders: Path) -> Any:
    """A policy whose adapters have made a step of about 1e-4, beside the folder of its base."""
    tokenizer = tiny.tokenizer()
    with pretended_gpu():
        policy = load_causal_lm(folders / "sft", tokenizer, trained=True, light=LoRAConfig(rank=4))
        torch.manual_seed(1)
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=1e-4)
    return policy


def test_what_is_saved_is_the_policy_that_was_evaluated(folders: Path, moved: Any) -> None:
    base = {name: weight.float() for name, weight in load_file(folders / "sft" / "model.safetensors").items()}
    save_model(moved, tiny.tokenizer(), folders / "merged")
    saved = load_file(folders / "merged" / "model.safetensors")
    layers = dict(moved.get_base_model().named_modules())
    checked = 0
    for name, weight in saved.items():
        layer = layers[name.removesuffix(".weight")]
        if hasattr(layer, "get_delta_weight"):
            step = weight - base[name].bfloat16().float()
            torch.testing.assert_close(step, layer.get_delta_weight("default"), atol=1e-7, rtol=1e-3)
            checked += 1
    assert checked == 14
    assert moved.get_base_model().dtype == torch.bfloat16, "the live policy stays as it was"


def test_an_adapter_is_read_again_as_it_was(folders: Path, moved: Any) -> None:
    save_adapter(moved, tiny.tokenizer(), folders / "adapter", str(folders / "sft"))
    rows = Sequences.join([[6, 7, 8]], [[9, 10, 2]], [True], 1)
    with pretended_gpu():
        again = load_causal_lm(folders / "adapter", tiny.tokenizer(), trained=False)
        torch.testing.assert_close(response_logprobs(again, rows, 1.0), response_logprobs(moved, rows, 1.0))
        assert load_base(folders / "adapter", tiny.tokenizer()).dtype == torch.bfloat16


# ---------------------------------------------------------------- a reward model that was saved as adapters


@pytest.fixture
def judged(folders: Path) -> Path:
    """A reward model that is adapters on the policy's base, in place of the whole one."""
    return small_ppo.judge_on_base(folders)


@pytest.mark.parametrize("pretended", [False, True])
def test_the_critic_of_full_ppo_learns_though_the_reward_model_was_adapters(judged: Path, pretended: bool) -> None:
    def run() -> stages.StageResult:
        return small_ppo.run(judged, updates=1)

    if pretended:
        with pretended_gpu():
            result = run()
    else:
        result = run()
    assert result.details["curve"][0]["critic_grad_norm"] > 0


def test_its_scores_are_those_that_were_trained(judged: Path) -> None:
    rows = [[6, 7, 8, 2], [9, 10, 2]]
    with pretended_gpu():
        exact = load_scorer(judged / "reward", tiny.tokenizer(), trained=False)
        on_base = load_reward_model(
            judged / "reward",
            tiny.tokenizer(),
            base=(judged / "sft", load_base(judged / "sft", tiny.tokenizer())),
        )
        torch.testing.assert_close(score_rows(on_base, rows, 1, 8), score_rows(exact, rows, 1, 8))


# ---------------------------------------------------------------- shared prompts


def test_whether_prompts_are_shared_does_not_hang_on_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as large as bfloat16's in one number of many is noise; an architecture that sees other tokens is not."""
    from tests.alignment.reward.test_batch import EXAMPLES, PAD

    model = tiny.scorer()
    with pretended_gpu():
        assert reward_forward.can_share(model, EXAMPLES, PAD)
        own = reward_forward.end_states
        calls = iter(range(2))

        def noisy(*args: Any) -> torch.Tensor:
            states = own(*args).clone()
            states[0, 0] += 0.3 * next(calls)
            return states

        monkeypatch.setattr(reward_forward, "end_states", noisy)
        assert reward_forward.can_share(model, EXAMPLES, PAD)
        calls = iter(range(2))
        monkeypatch.setattr(reward_forward, "end_states", lambda *args: own(*args) * (1 + next(calls)))
        assert not reward_forward.can_share(model, EXAMPLES, PAD)


def test_policy_and_reference_of_a_lora_run_are_equal_to_the_bit_before_the_first_step(
    folders: Path, gpu: None
) -> None:
    cast, config = small_ppo.cast_of(folders, lora=LORA)
    assert isinstance(cast, ActorCritic)
    assert isinstance(config, PPOConfig)
    sequences = small_ppo.replies(cast, config)
    own, reference = (found(cast, sequences, config) for found in (policy_logprobs, reference_logprobs))
    assert torch.equal(own, reference)
