"""Four roles on one set of weights say what four separate models say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.models.adapters import add_adapters
from alignment.models.forward import response_logprobs, score_rows
from alignment.models.load import (
    load_base,
    load_causal_lm,
    load_reward_model,
    load_scorer,
    load_tokenizer,
    save_adapter,
)
from alignment.ppo import roles
from alignment.ppo.update import update
from alignment.shared import stages
from alignment.shared.config import LoRAConfig, PPOConfig, RewardConfig, RLOOConfig
from alignment.shared.events import NullReporter
from alignment.training.ready import quicken
from tests.support.alignment import small_ppo, tiny

LORA = {"rank": 4}
ROWS = [[6, 7, 8, 2], [9, 10, 2]]


@pytest.fixture
def on_base(folders: Path) -> Path:
    """The reward model is adapters on the policy's base."""
    return small_ppo.judge_on_base(folders)


def separate(folder: Path, config: PPOConfig) -> roles.ActorCritic:
    """The same cast of models that share nothing: the base is loaded for each."""
    tokenizer = load_tokenizer(folder / "sft")

    def judge() -> Any:
        own_base = (folder / "sft", load_base(folder / "sft", tokenizer))
        return load_reward_model(folder / "reward", tokenizer, base=own_base)

    assert config.lora is not None
    policy = load_causal_lm(folder / "sft", tokenizer, trained=True, light=config.lora, seed=config.seed)
    critic = add_adapters(judge().train(), config.lora, "SEQ_CLS", config.seed)
    cast = roles.ActorCritic(tokenizer, policy, None, judge(), roles.ScoreScaler(), critic=critic)
    for model in (cast.policy, cast.critic, cast.reward_model):
        quicken(model)
    return cast


def large(model: Any) -> set[int]:
    """Where its matrices lie, those of adapters and heads apart."""
    return {w.data_ptr() for name, w in model.named_parameters() if w.dim() == 2 and "lora_" not in name and
            "score" not in name and "lm_head" not in name}  # fmt: skip


def test_policy_critic_and_reward_model_are_adapters_on_the_same_tensors(on_base: Path) -> None:
    cast, _ = small_ppo.cast_of(on_base, lora=LORA)
    assert large(cast.policy) == large(cast.critic) == large(cast.reward_model)
    assert cast.reference is None
    trained = {name.rpartition(".lora_")[2] for name, _ in roles.trained_weights(cast.critic)}
    assert {"A.default.weight", "B.default.weight"} <= trained
    assert not any(".start." in name for name in trained)


def test_the_critic_stands_on_the_reward_model_where_that_has_a_base_of_its_own(folders: Path) -> None:
    cast, _ = small_ppo.cast_of(folders, lora=LORA)
    assert large(cast.critic) == large(cast.reward_model)
    assert large(cast.critic).isdisjoint(large(cast.policy))
    before = score_rows(cast.reward_model, ROWS, 1, 8)
    for _, weight in roles.trained_weights(cast.critic):
        weight.data.add_(1.0)
    assert torch.equal(score_rows(cast.reward_model, ROWS, 1, 8), before), "the critic's head is its own"


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_base_says_and_learns_what_separate_models_do(on_base: Path, cores: int, checkpointing: bool) -> None:
    """With two lanes both are in one model or in two at a time: nothing is switched, so nothing can be mistaken."""
    settings: dict[str, Any] = {"lora": LORA, "micro_batch_size": 4, "batch_size": 24}
    torch.set_num_threads(cores)
    try:
        shared, config = small_ppo.cast_of(on_base, **settings, gradient_checkpointing=checkpointing)
        alone = separate(on_base, config)
        found = []
        for cast in (shared, alone):
            rollout = small_ppo.rollout_of(replace(cast, scaler=roles.ScoreScaler()), config)
            metrics = update(cast, *small_ppo.learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
            found.append((rollout, metrics, [dict(roles.trained_weights(m)) for m in (cast.policy, cast.critic)]))
    finally:
        torch.set_num_threads(1)
    (ours, said, trained), (theirs, expected, separately) = found
    assert torch.equal(ours.sequences.input_ids, theirs.sequences.input_ids)
    for name in ("old_logprobs", "ref_logprobs", "values", "scores"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-6, rtol=1e-6)
    assert said == pytest.approx(expected, abs=1e-6, rel=1e-6)
    for mine, other in zip(trained, separately, strict=True):
        assert mine.keys() == other.keys(), "checkpoints of either are the other's"
        for name, weight in mine.items():
            torch.testing.assert_close(weight, other[name], atol=1e-6, rtol=1e-6)


def test_adapters_on_the_base_score_as_the_merged_reward_model_does(on_base: Path) -> None:
    cast, _ = small_ppo.cast_of(on_base, lora=LORA)
    merged = load_scorer(on_base / "reward", tiny.tokenizer(), trained=False)
    torch.testing.assert_close(score_rows(cast.reward_model, ROWS, 1, 8), score_rows(merged, ROWS, 1, 8))


# ---------------------------------------------------------------- what is saved


def test_a_policy_is_saved_as_an_adapter_and_on_request_merged(on_base: Path) -> None:
    # Replies enough that a policy of four updates is kept.
    settings = {"updates": 4, "lora": LORA, "min_specificity": 0.0, "keep_kl_coef": 0.0, "evaluate_replies": 256}
    small_ppo.run(on_base, **settings)
    (on_base / "out").rename(on_base / "adapter")
    small_ppo.run(on_base, **settings, save_adapter=False)
    assert not (on_base / "adapter" / "model.safetensors").exists()
    assert (on_base / "out" / "model.safetensors").exists()
    sequences = Sequences.join([[6, 7]], [[8, 9, 2]], [True], 1)
    found = [
        response_logprobs(load_causal_lm(on_base / name, tiny.tokenizer(), trained=False), sequences, 1.0)
        for name in ("adapter", "out", "sft")
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found[0], found[2], atol=1e-3), "it has learnt"


def test_the_next_round_begins_from_an_adapter(on_base: Path) -> None:
    """PPO from a policy that is an adapter, and a reward model trained on that policy: again one base."""
    small_ppo.run(on_base, updates=4, lora=LORA)
    first = on_base / "out"
    model = load_scorer(first, tiny.tokenizer(), trained=True, light=LoRAConfig(rank=2))
    save_adapter(model, tiny.tokenizer(), on_base / "judge", str(first))
    config = PPOConfig.model_validate(small_ppo.SETTINGS | {"lora": LORA})
    inputs = stages.PPOInputs(model=first, reward_model=on_base / "judge", prompts=on_base / "prompts.jsonl")
    cast = roles.load_roles(config, inputs)
    assert large(cast.policy) == large(cast.critic) == large(cast.reward_model)
    alone = load_reward_model(on_base / "judge", tiny.tokenizer())
    torch.testing.assert_close(score_rows(cast.reward_model, ROWS, 1, 8), score_rows(alone, ROWS, 1, 8))
    result = stages.run(
        stages.Stage.PPO,
        small_ppo.SETTINGS | {"lora": LORA, "updates": 1},
        inputs.model_dump(exclude_none=True),
        on_base / "second",
        NullReporter(),
    )
    assert result.metrics["updates"] == 1.0


@pytest.mark.parametrize("config", [RewardConfig, PPOConfig, RLOOConfig])
def test_adapters_are_saved_where_they_are_trained_unless_asked_otherwise(config: Any) -> None:
    assert config(lora={}).save_adapter
    assert not config().save_adapter
    assert not config(lora={}, save_adapter=False).save_adapter
    assert not config.model_validate(config(lora={}, save_adapter=False).model_dump()).save_adapter
    with pytest.raises(ValueError, match="save_adapter needs lora"):
        config(save_adapter=True)
