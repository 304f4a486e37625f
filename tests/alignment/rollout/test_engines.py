"""Rollout engines against one another, and what is done about their arithmetic."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from alignment.data.batch import Rollout
from alignment.maths.losses import PolicyTokens, importance_weights, policy_loss
from alignment.models.forward import response_logprobs
from alignment.ppo.baselines import rloo
from alignment.ppo.learner import Learner
from alignment.ppo.roles import record, reply
from alignment.ppo.update import targets_of, update
from alignment.rollout.batches import Generated
from alignment.rollout.engines import Continuous, Engine, engine_of
from alignment.rollout.generation import generate
from alignment.rollout.vllm_engine import VLLM
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import StageError
from tests.support.alignment import small_ppo, tiny

PROMPTS = [[6 + (i * 7 + j * 3) % 20 for j in range(1 + i % 6)] for i in range(20)]
LIMIT, STOP = 12, 2


def draw(engine: Engine, model: Any, temperature: float = 1.0, seed: int = 0, batch_size: int = 8) -> Generated:
    return engine(
        model,
        tiny.tokenizer(),
        PROMPTS,
        max_new_tokens=LIMIT,
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
        batch_size=batch_size,
    )


def stopping_model() -> torch.nn.Module:
    """Its likeliest token is the stop now and then."""
    model = tiny.causal(initializer_range=0.6)
    model.lm_head.bias = torch.nn.Parameter(torch.eye(model.config.vocab_size)[STOP] * 4.0)
    return model


@pytest.mark.parametrize("batch_size", [3, 20])  # three slots for twenty prompts: they are filled again and again
def test_engines_agree_greedily_token_by_token(batch_size: int) -> None:
    model = stopping_model()
    cold = 1e-4  # only the likeliest token is left
    plain, other = (draw(engine, model, cold, batch_size=batch_size) for engine in (generate, Continuous()))
    assert [other.ids(row) for row in range(20)] == [plain.ids(row) for row in range(20)]
    assert other.finished.tolist() == plain.finished.tolist()
    assert 0 < int(plain.finished.sum()) < 20
    assert len({len(plain.ids(row)) for row in range(20)}) > 3


def test_continuous_batching_stops_at_the_stop_and_nothing_follows_it() -> None:
    found = draw(Continuous(), stopping_model())
    for row in range(20):
        tokens = found.ids(row)
        assert STOP not in tokens[:-1]
        assert (tokens[-1] == STOP) == bool(found.finished[row])
        assert found.finished[row] or len(tokens) == LIMIT
        assert not found.logprobs[row, len(tokens) :].any()


@pytest.mark.parametrize("engine", [generate, Continuous()])
def test_an_engines_logprobs_are_under_the_temperature(engine: Engine) -> None:
    model = stopping_model()
    found = draw(engine, model, temperature=0.7)
    for row, prompt in enumerate(PROMPTS):
        tokens = found.ids(row)
        table = (model(torch.tensor([prompt + tokens])).logits[0] / 0.7).log_softmax(-1)
        expected = table[range(len(prompt) - 1, len(prompt) + len(tokens) - 1), tokens]
        torch.testing.assert_close(found.logprobs[row, : len(tokens)], expected.detach(), atol=1e-4, rtol=1e-4)


def test_a_seed_gives_the_same_draws_and_the_model_its_mode_back() -> None:
    model = stopping_model().train()
    first, again, other = (draw(Continuous(), model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.responses, again.responses)
    assert not torch.equal(first.responses, other.responses)
    assert model.training


def test_importance_weights_by_hand() -> None:
    """Ours 0.3, 0.2, 0.4 against 0.2, 0.4, 0.1: 1.5, 0.5, and 4 that the cap of 2 holds; padding weighs 1."""
    ours, theirs = torch.tensor([[0.3, 0.2, 0.4, 1.0]]).log(), torch.tensor([[0.2, 0.4, 0.1, 0.5]]).log()
    mask = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(importance_weights(ours, theirs, mask, 2.0), torch.tensor([[1.5, 0.5, 2.0, 1.0]]))


def test_weights_multiply_the_loss_of_their_tokens_and_no_diagnosis() -> None:
    """Ratios of 1: the loss is -(2 * 1 * 1 + 0.5 * 3) / 2 = -1.75."""
    old = torch.tensor([[-1.0, -2.0]])
    new = old.clone().requires_grad_()
    mask, advantages, weights = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[1.0, 3.0]]), torch.tensor([[2, 0.5]])
    acted = policy_loss(PolicyTokens(new, old, advantages, mask, weights), 0.2)
    acted.loss.backward()
    assert float(acted.loss.detach()) == pytest.approx(-1.75)
    assert new.grad.tolist() == [[-1.0, -0.75]]
    assert (float(acted.ratio), float(acted.approx_kl)) == (1.0, 0.0)


def shifted(rollout: Rollout, by: float) -> Rollout:
    """As if the engine had found every token that much likelier."""
    return replace(rollout, sampled_logprobs=torch.where(rollout.mask, rollout.old_logprobs + by, 0.0))


def test_the_gap_is_that_of_the_engines_and_our_logprobs(folders: Path) -> None:
    cast, config = small_ppo.cast_of(folders)
    policy, critic = small_ppo.learners(cast, config)
    sequences, sampled = reply(cast, [[3, 10, 11]] * 32, config, torch.Generator().manual_seed(0))
    rollout = record(cast, sequences, config, sampled)
    own = update(cast, policy, critic, rollout, config, torch.Generator())
    assert own["engine_gap_max"] < 1e-5  # `generate` computes what our forward pass does
    metrics = update(cast, policy, critic, shifted(rollout, 0.25), config, torch.Generator())
    assert metrics["engine_gap"] == pytest.approx(0.25, abs=1e-5)
    assert metrics["engine_gap_max"] == pytest.approx(0.25, abs=1e-5)


def test_the_cap_is_the_settings_and_can_be_unset(folders: Path) -> None:
    cast, config = small_ppo.cast_of(folders)
    rollout = shifted(small_ppo.rollout_of(cast, config), -1.0)  # we find each token e times likelier
    found = [targets_of(rollout, config.model_copy(update={"importance_cap": cap})).weights for cap in (1.5, 9.0, None)]
    for weights, expected in zip(found, (1.5, torch.e, 1.0), strict=True):
        torch.testing.assert_close(weights[rollout.mask], torch.full_like(weights[rollout.mask], expected))


def test_rloo_weighs_whole_responses(folders: Path) -> None:
    cast, _ = small_ppo.cast_of(folders)
    config = RLOOConfig.model_validate(small_ppo.SETTINGS | {"importance_cap": 1e9, "max_grad_norm": 1e9})
    rollout = small_ppo.rollout_of(cast, small_ppo.cast_of(folders)[1])
    lengths = rollout.sequences.response_lengths
    losses = []
    for by in (0.0, -0.1):
        policy = Learner.of(cast.policy, config.learning_rate, config)
        losses.append(
            rloo._accumulate(cast, shifted(rollout, by), torch.ones(32), torch.arange(32), config)["policy_loss"]
        )
        policy.optimizer.zero_grad()
    assert losses[0] == pytest.approx(-1.0, abs=1e-4)
    assert losses[1] == pytest.approx(-float((0.1 * lengths).exp().mean()), rel=1e-4)


def test_ppo_learns_from_continuous_batching(folders: Path) -> None:
    reported = small_ppo.EvaluationRecorder()
    small_ppo.run(folders, reported, updates=2, rollout_engine="continuous")
    cast, config = small_ppo.cast_of(folders, rollout_engine="continuous")
    rollout = small_ppo.rollout_of(cast, config)
    ours = response_logprobs(cast.policy, rollout.sequences, 1.0)
    assert isinstance(cast.engine, Continuous)
    torch.testing.assert_close(ours.detach(), rollout.old_logprobs, atol=1e-5, rtol=1e-5)
    assert max(step["engine_gap_max"] for step in reported.steps) < 1e-4


def test_vllm_is_refused_by_name_where_it_is_not_installed() -> None:
    with pytest.raises(StageError, match="vLLM is not installed") as caught:
        engine_of(PPOConfig(rollout_engine="vllm"))
    assert "'continuous'" in caught.value.next_step


def test_vllm_and_adapters_are_refused() -> None:
    with pytest.raises(ValidationError, match="takes whole weights"):
        PPOConfig(rollout_engine="vllm", lora={})


class FakeLLM:
    """What `VLLM` uses of vLLM: replies with the first prompt token's neighbours, then the stop."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.weights, self.resets = settings, [], 0

    def apply_model(self, change: Any) -> None:
        change(SimpleNamespace(load_weights=lambda pairs: self.weights.append(dict(pairs))))

    def reset_prefix_cache(self) -> None:
        self.resets += 1

    def generate(self, asked: list[dict[str, list[int]]], settings: Any, use_tqdm: bool) -> list[Any]:
        rows = [[*range(6, 6 + len(prompt["prompt_token_ids"])), STOP][: settings.max_tokens] for prompt in asked]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=row, logprobs=_logprobs(row))]) for row in rows]


def _logprobs(row: list[int]) -> list[dict[int, Any]]:
    return [{token: SimpleNamespace(logprob=-0.5 * place)} for place, token in enumerate(row)]


def test_vllm_gets_the_live_weights_before_each_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(LLM=FakeLLM, SamplingParams=lambda **settings: SimpleNamespace(**settings))
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine, model = VLLM(), tiny.causal()
    found = draw(engine, model)
    assert [found.ids(row) for row in (0, 2)] == [[6, STOP], [6, 7, 8, STOP]]
    assert found.logprobs[2, :4].tolist() == [0.0, -0.5, -1.0, -1.5]
    with torch.no_grad():
        model.lm_head.weight.fill_(0.25)
    draw(engine, model)
    assert len(engine._llm.weights) == engine._llm.resets == 2
    assert float(engine._llm.weights[1]["lm_head.weight"].mean()) == 0.25
