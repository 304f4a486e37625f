"""How PPO learns, and what stands beside it: optimizer, pretraining mix, average, alarms, files."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.maths.losses import PolicyTokens, ValueTokens, policy_loss, value_loss
from alignment.models.forward import response_logprobs, response_terms
from alignment.ppo.learner import Learner, learning_rate_factor
from alignment.ppo.roles import record
from alignment.ppo.update import update
from alignment.shared import stages
from alignment.shared.config import PPOConfig
from alignment.shared.errors import BadInput, Diverged
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, write_jsonl
from tests.support.alignment import tiny
from tests.support.alignment.small_ppo import (
    PROMPTS,
    SETTINGS,
    EvaluationRecorder,
    Finished,
    cast_of,
    inputs_of,
    learners,
    rollout_of,
    run,
)

pytestmark = pytest.mark.slow

T, F = True, False


def config_of(**settings: object) -> PPOConfig:
    return PPOConfig.model_validate(SETTINGS | settings)


def after_update(folder: Path, **settings: object) -> dict[str, float]:
    cast, config = cast_of(folder, **settings)
    return update(cast, *learners(cast, config), rollout_of(cast, config), config, torch.Generator().manual_seed(0))


# ---- losses and optimizer


def test_the_value_loss_without_a_clip_is_the_squared_error() -> None:
    values, old, returns, mask = torch.tensor([[0.5, 2.0]]), torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([[T, T]])
    assert float(value_loss(ValueTokens(values, old, returns, mask), None).loss) == pytest.approx(
        0.5 * (0.25 + 1.0) / 2
    )
    assert float(value_loss(ValueTokens(values, old, returns, mask), 0.2).loss) == pytest.approx(0.5 * (0.64 + 1.0) / 2)


def test_clip_values_turns_the_clip_off(folders: Path) -> None:
    assert after_update(folders, clip_values=False)["value_clip_fraction"] == 0.0
    assert after_update(folders, value_clip_range=1e-6)["value_clip_fraction"] > 0.0


def test_at_first_the_critic_learns_alone(folders: Path) -> None:
    cast, config = cast_of(folders, critic_warmup=1, updates=3)
    taught, rollout = learners(cast, config), rollout_of(cast, config)
    before = {name: weight.clone() for name, weight in cast.policy.named_parameters()}
    values = cast.critic.state_dict()["score.weight"].clone()
    for moves in (False, True):
        metrics = update(cast, *taught, rollout, config, torch.Generator().manual_seed(0))
        same = all(torch.equal(before[name], weight) for name, weight in cast.policy.named_parameters())
        assert same != moves
        assert ("policy_loss" in metrics) == moves
        assert metrics["value_loss"] > 0
    assert not torch.equal(values, cast.critic.state_dict()["score.weight"])


def test_the_leash_waits_for_the_policy(folders: Path) -> None:
    """While the critic learns alone the KL is 0, which says nothing of what the coefficient does."""
    found = run(folders, critic_warmup=2, updates=4, kl_controller="adaptive", kl_target=6.0, kl_horizon=100)
    first, second, third, fourth = (row["kl_coef"] for row in found.details["curve"])
    assert first == second == third
    assert fourth != third


def test_responses_to_a_prompt_stand_side_by_side(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[list[int]]] = []

    def watched(cast, sequences, *rest):  # type: ignore[no-untyped-def]
        rows = zip(sequences.input_ids.tolist(), sequences.prompt_lengths.tolist(), strict=True)
        seen.append([row[:length] for row, length in rows])
        return record(cast, sequences, *rest)

    monkeypatch.setattr("alignment.ppo.stage.record", watched)
    run(folders, responses_per_prompt=4, group_baseline=True, updates=1)
    [prompts] = seen
    assert len(prompts) == SETTINGS["batch_size"]
    assert all(prompts[row] == prompts[row - row % 4] for row in range(len(prompts)))
    assert len({tuple(prompt) for prompt in prompts}) == len(prompts) // 4


def test_entropies_are_those_of_the_tempered_distribution(folders: Path) -> None:
    cast, _ = cast_of(folders)
    rows = Sequences.join([[3, 9, 10]], [[11, 12, 2]], [True], 1)
    terms = response_terms(cast.policy, rows, temperature=0.5)
    torch.testing.assert_close(terms.logprobs, response_logprobs(cast.policy, rows, temperature=0.5))
    logits = cast.policy(input_ids=rows.input_ids).logits[0, 2:5] / 0.5
    torch.testing.assert_close(terms.entropies[0], torch.distributions.Categorical(logits=logits).entropy())


def test_the_bonus_raises_the_entropy(folders: Path) -> None:
    """Schulman et al. 2017, eq. 9. From a sharp policy, with nothing else to learn."""
    sharp = tiny.causal()
    with torch.no_grad():
        sharp.lm_head.weight.mul_(20)
    tiny.save(sharp, folders / "sft")
    cast, config = cast_of(folders, entropy_coef=1.0, kl_coef=0.0, inner_epochs=10)
    rollout = rollout_of(cast, config)
    plain = replace(rollout, scores=rollout.scores * 0, values=rollout.values * 0)
    before = response_terms(cast.policy, rollout.sequences, 1.0).entropies[rollout.mask].mean().detach()
    update(cast, *learners(cast, config), plain, config, torch.Generator().manual_seed(0))
    after = response_terms(cast.policy, rollout.sequences, 1.0).entropies[rollout.mask].mean().detach()
    assert float(after) > 1.05 * float(before)


def test_adam_is_set_up_as_asked_and_places_epsilon_as_pytorch_does() -> None:
    model = tiny.causal()
    learner = Learner.of(model, 0.1, config_of(adam_beta1=0.8, adam_beta2=0.95, adam_epsilon=1.0, warmup_ratio=0.0))
    weight = model.lm_head.weight
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    learner.step()
    # Corrected moments are g and g^2: the step is lr * g / (|g| + eps). With epsilon before the correction, as in
    # TensorFlow, it would be lr * g / (|g| + eps / sqrt(1 - 0.95)).
    torch.testing.assert_close(before - weight, torch.full_like(weight, 0.1 * 1e-3 / (1e-3 + 1.0)), rtol=1e-3, atol=0)
    assert learner.optimizer.defaults["betas"] == (0.8, 0.95)


def test_gradients_are_scaled_down_to_the_norm() -> None:
    model = tiny.causal()
    learner = Learner.of(model, 0.1, config_of(max_grad_norm=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(p.numel() for p in model.parameters())
    assert learner.step() == pytest.approx(math.sqrt(count))  # the norm before
    moments = torch.cat([learner.optimizer.state[p]["exp_avg"].flatten() for p in model.parameters()])
    assert float(moments.norm()) == pytest.approx(0.1 * 0.5, rel=1e-3)  # 1 - beta1 of the norm after


def test_the_critic_has_a_rate_of_its_own_or_the_policys(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    made = Learner.of
    monkeypatch.setattr(Learner, "of", lambda model, rate, *rest: rates.append(rate) or made(model, rate, *rest))
    run(folders, updates=1, critic_learning_rate=1e-4)
    run(folders, updates=1)
    assert rates == [5e-3, 1e-4, 5e-3, 5e-3]


def test_schedules_after_the_warm_up() -> None:
    """InstructGPT C.4: 10 iterations from a tenth of the rate, then constant."""
    rises = [learning_rate_factor(u, warmup=10.0, updates=500, schedule="constant") for u in (0, 4, 9, 250, 499)]
    assert rises == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    cosine = [learning_rate_factor(u, warmup=0.0, updates=4, schedule="cosine") for u in range(4)]
    assert cosine == pytest.approx([1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2])


def test_ranks_and_micro_batches_add_up_to_the_whole_batch() -> None:
    """Global token counts as denominators: two ranks, each with micro-batches of its own size, give the sum of all."""
    generator = torch.Generator().manual_seed(2)
    logprobs, old, advantages = (torch.randn(6, 5, generator=generator) for _ in range(3))
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 2, 4, 1])[:, None]

    def gradient(parts: list[slice], ranks: int = 1) -> torch.Tensor:
        """What all ranks' gradients sum to; a rank that knew its own tokens alone would be off."""
        x = logprobs.clone().requires_grad_()
        for part in parts:
            policy_loss(
                PolicyTokens(x[part], old[part], advantages[part], mask[part]), 0.2, denominator=mask.sum()
            ).loss.backward()
        assert x.grad is not None
        return x.grad

    whole = gradient([slice(0, 6)])
    first, second = [slice(0, 1), slice(1, 2)], [slice(2, 3), slice(3, 6)]
    torch.testing.assert_close(gradient(first) + gradient(second), whole)
    own = logprobs.clone().requires_grad_()
    for part in (slice(0, 2), slice(2, 6)):
        (policy_loss(PolicyTokens(own[part], old[part], advantages[part], mask[part]), 0.2).loss / 2).backward()
    assert not torch.allclose(own.grad, whole, atol=1e-3)  # the mean of means, as in TRL 1.12


@pytest.mark.parametrize("far", [1e-9, 1e9])
def test_a_ratio_that_blows_up_ends_the_run_before_the_step(folders: Path, far: float) -> None:
    cast, config = cast_of(folders)
    rollout = rollout_of(cast, config)
    spoilt = replace(rollout, old_logprobs=rollout.old_logprobs - math.log(far))
    before = cast.policy.lm_head.weight.detach().clone()
    with pytest.raises(Diverged, match=r"ratio of new to old .* max_ratio is 10"):
        update(cast, *learners(cast, config), spoilt, config, torch.Generator().manual_seed(0))
    torch.testing.assert_close(cast.policy.lm_head.weight, before, atol=0, rtol=0)


# ---- pretraining mix, average, alarms in a run


def pretraining_file(folder: Path) -> Path:
    rows = [Demonstration(prompt=prompt, response="w7 w7 w7") for prompt in PROMPTS[:16]]
    return write_jsonl(folder / "pretraining.jsonl", rows) and folder / "pretraining.jsonl"


def test_the_pretraining_mix_is_learned_beside_the_reward(folders: Path) -> None:
    inputs = inputs_of(folders) | {"pretraining": pretraining_file(folders)}
    settings = SETTINGS | {"updates": 4, "ptx_coef": 27.8, "ptx_examples": 1}
    result = stages.run(stages.Stage.PPO, settings, inputs, folders / "out", NullReporter())
    losses = [row["ptx_loss"] for row in result.details["curve"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]


def test_the_mixs_gradient_is_the_coefficient_times_that_of_the_mean_loss(folders: Path) -> None:
    """Ouyang et al. 2022, eq. 2, whatever the micro-batches."""
    from alignment.ppo.prompt_set import EndlessBatches
    from alignment.ppo.ptx import PretrainingMix

    cast, _ = cast_of(folders)
    rows = [([3, 9], [10, 11, 2]), ([3], [12, 2]), ([3, 4, 5], [13, 14, 15, 2])]
    order = EndlessBatches([[0], [1], [2]], 3, torch.Generator().manual_seed(0))
    loss = PretrainingMix(cast.policy, rows, order, 1, micro_batch_size=2).accumulate(27.8)
    weight = cast.policy.lm_head.weight
    found, weight.grad = weight.grad, None
    alone = [Sequences.join([p], [r], [True], 1) for p, r in rows]
    whole = -sum(response_logprobs(cast.policy, s, 1.0).sum() for s in alone) / 9
    whole.backward()  # type: ignore[union-attr]
    assert loss == pytest.approx(float(whole), rel=1e-5)
    torch.testing.assert_close(found, 27.8 * weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("coef", "given"), [(1.0, False), (0.0, True)])
def test_the_mix_needs_data_and_data_needs_the_mix(folders: Path, coef: float, given: bool) -> None:
    inputs = inputs_of(folders) | ({"pretraining": pretraining_file(folders)} if given else {})
    with pytest.raises(BadInput, match="Give both or neither"):
        stages.run(stages.Stage.PPO, SETTINGS | {"ptx_coef": coef}, inputs, folders / "out", NullReporter())


def test_the_average_is_evaluated_and_kept_unless_asked_otherwise(folders: Path) -> None:
    """With a decay near 1 the averaged policy has hardly moved after four updates, whatever the latest does."""
    slow = run(folders, updates=4, ema_decay=0.9999)
    latest = run(folders, updates=4, ema_decay=0.9999, keep_ema=False)
    plain = run(folders, updates=4)
    assert slow.details["checkpoints"][1]["metrics"]["heldout_kl"] == pytest.approx(0.0, abs=1e-2)
    assert latest.details["checkpoints"] == plain.details["checkpoints"]
    assert plain.details["checkpoints"][1]["metrics"]["heldout_kl"] > 0.05
    assert slow.details["curve"][3]["kl"] == plain.details["curve"][3]["kl"]  # rollouts are the latest policy's


def test_alarms_are_noted_stand_in_the_result_and_can_end_training(folders: Path) -> None:
    recorded = EvaluationRecorder()
    alarms = {"window": 1, "policy_clipping": 0.0, "stop_on": ["policy_clipping"]}
    result = run(folders, recorded, alarms=alarms)
    (alarm,) = [a for a in result.details["alarms"] if a["name"] == "policy_clipping"]
    assert alarm["sentence"] in recorded.notes
    assert result.metrics["updates"] == alarm["update"] < 12
    assert "ended training (alarms.stop_on)" in result.details["stopped"]
    assert (folders / "out" / "config.json").exists()


def test_every_reply_of_every_evaluation_is_left_for_another_judge(finished: Finished) -> None:
    result = finished.result
    rows = [json.loads(line) for line in (finished.folder / "out" / "looks.jsonl").read_text().splitlines()]
    assert {row["update"] for row in rows} == {0, 4, 8, 12}
    assert {row["update"] for row in rows if row["chosen"]} == {result.metrics["chosen_update"]}
    for entry in result.details["checkpoints"]:
        scores = [row["score"] for row in rows if row["update"] == entry["step"]]
        assert sum(scores) / len(scores) == pytest.approx(entry["metrics"]["heldout_score"], abs=1e-6)


# ---- what the path needs


def test_the_path_imports_torch_and_transformers_and_none_of_the_heavy_rest() -> None:
    modules = "alignment.ppo.stage, alignment.ppo.baselines.rloo, alignment.ppo.baselines.best_of_n"
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "transformers" in loaded
    assert not {"trl", "datasets", "peft", "matplotlib", "ray"} & set(loaded)
