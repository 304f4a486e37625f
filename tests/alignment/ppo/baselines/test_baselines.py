"""RLOO and best of n on the parts of PPO."""

import json
import math
from pathlib import Path

import pytest
import torch

from alignment.__main__ import main
from alignment.maths.advantages import leave_one_out
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.ppo import roles
from alignment.ppo.baselines import best_of_n, rloo
from alignment.ppo.learner import Learner
from alignment.shared import stages
from alignment.shared.config import Baseline, RLOOConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter, Paused
from tests.support.alignment import tiny
from tests.support.alignment.small_ppo import SETTINGS, EvaluationRecorder, inputs_of, replies

pytestmark = pytest.mark.slow

RLOO = SETTINGS | {"responses_per_prompt": 4, "updates": 16}


def cast_of(folder: Path, **settings: object) -> tuple[roles.Roles, RLOOConfig]:
    config = RLOOConfig.model_validate(RLOO | settings)
    return roles.load_without_critic(config, stages.PPOInputs.model_validate(inputs_of(folder))), config


def test_each_return_is_judged_against_the_others_to_its_prompt() -> None:
    """Two prompts of three: 1 against the mean of 2 and 6, and so on; a constant for all changes nothing."""
    returns = torch.tensor([1.0, 2.0, 6.0, 10.0, 10.0, 13.0])
    expected = torch.tensor([-3.0, -1.5, 4.5, -1.5, -1.5, 3.0])
    torch.testing.assert_close(leave_one_out(returns, 3), expected)
    torch.testing.assert_close(leave_one_out(returns + 100, 3), expected)


def test_the_first_step_is_reinforce(folders: Path) -> None:
    """At a ratio of 1 the gradient is that of the mean of -advantage * log-probability of the whole response."""
    cast, config = cast_of(folders, micro_batch_size=8)
    rollout = roles.record_without_critic(cast, replies(cast, config), config)
    advantages, _ = rloo.advantages_of(rollout, config)
    rloo._accumulate(cast, rollout, advantages, torch.arange(config.batch_size), config)
    weight = cast.policy.lm_head.weight
    found, weight.grad = weight.grad, None
    summed = roles.response_logprobs(cast.policy, rollout.sequences, 1.0).sum(dim=1)
    (-(advantages * summed).mean()).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, weight.grad, rtol=1e-3, atol=1e-5)


def test_the_price_of_the_kl_is_that_of_the_whole_response(folders: Path) -> None:
    cast, config = cast_of(folders, kl_coef=0.5)
    rollout = roles.record_without_critic(cast, replies(cast, config), config)
    far = roles.replace(rollout, ref_logprobs=rollout.old_logprobs - 0.25)
    advantages, kl = rloo.advantages_of(far, config)
    torch.testing.assert_close(kl, 0.25 * far.sequences.response_lengths)
    torch.testing.assert_close(advantages, leave_one_out(far.scores - 0.5 * kl, 4))


def test_rloo_raises_the_reward_and_keeps_what_earned_it(folders: Path) -> None:
    recorded = EvaluationRecorder()
    result = stages.run(Baseline.RLOO, RLOO, inputs_of(folders), folders / "out", recorded)
    assert result.metrics["heldout_score"] > result.metrics["heldout_score_sft"] + 0.1
    assert len(result.details["curve"]) == len(recorded.steps) == 16
    assert [update for update, _ in recorded.evaluations] == [4, 8, 12, 16]
    assert "explained_variance" not in result.details["curve"][0]
    assert (folders / "out" / "ppo_report.html").exists()
    load_causal_lm(folders / "out", load_tokenizer(folders / "out"), trained=False)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (Stage.PPO, SETTINGS | {"updates": 1}),
        (Baseline.RLOO, RLOO | {"updates": 1}),
        (Baseline.BEST_OF_N, {"responses_per_prompt": 2, "max_response_length": 8}),
    ],
)
def test_whoever_optimises_against_an_unmeasured_reward_model_is_told(
    folders: Path, name: Stage | Baseline, settings: dict[str, object]
) -> None:
    recorded = EvaluationRecorder()
    result = stages.run(name, settings, inputs_of(folders), folders / "out", recorded)
    assert "Nothing is known of how good this reward model is" in recorded.notes[0]
    assert result.details["gate"]["outcome"] == "unmeasured"


def test_best_of_n_says_what_the_gate_refuses(folders: Path) -> None:
    weak = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.47, "heldout_accuracy_high": 0.63}
    (folders / "reward" / "reward_report.json").write_text(json.dumps({"metrics": weak}))
    recorded, settings = EvaluationRecorder(), {"responses_per_prompt": 2, "max_response_length": 8}
    result = stages.run(Baseline.BEST_OF_N, settings, inputs_of(folders), folders / "out", recorded)
    assert "not above chance" in recorded.notes[0]
    assert result.details["gate"]["outcome"] == "refused"


def test_best_of_n_reads_its_judges_tokens(folders: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens(["w99"])
    tiny.scorer(vocab_size=len(other)).save_pretrained(folders / "reward")
    other.save_pretrained(folders / "reward")
    with pytest.raises(StageError, match=r"another tokenizer \(27 tokens\)"):
        stages.run(Baseline.BEST_OF_N, {"max_response_length": 8}, inputs_of(folders), folders / "out", NullReporter())


def test_a_paused_rloo_goes_on_to_the_weights_of_one_that_was_not(folders: Path) -> None:
    inputs, whole = inputs_of(folders) | {"checkpoints": folders / "saved"}, EvaluationRecorder()
    stages.run(Baseline.RLOO, RLOO | {"updates": 6}, inputs_of(folders), folders / "whole", whole)

    class Pausing(EvaluationRecorder):
        def paused(self) -> bool:
            return len(self.steps) == 3

    with pytest.raises(Paused, match="after step 3 of 6"):
        stages.run(Baseline.RLOO, RLOO | {"updates": 6}, inputs, folders / "half", Pausing())
    rest = EvaluationRecorder()
    stages.run(Baseline.RLOO, RLOO | {"updates": 6}, inputs, folders / "out", rest)
    assert rest.steps == whole.steps[3:]
    left = [(folders / name / "model.safetensors").read_bytes() for name in ("whole", "out")]
    assert left[0] == left[1]


def test_rloo_needs_whole_groups() -> None:
    with pytest.raises(ValueError, match=r"batch_size \(32\) must be a multiple of responses_per_prompt \(5\)"):
        RLOOConfig.model_validate(RLOO | {"responses_per_prompt": 5})


def test_the_best_of_n_is_better_than_the_first_and_says_what_it_may_cost(folders: Path) -> None:
    settings = {"responses_per_prompt": 16, "max_response_length": 8, "max_length": 64}
    result = stages.run(Baseline.BEST_OF_N, settings, inputs_of(folders), folders / "out", NullReporter())
    rows = [json.loads(line) for line in (folders / "out" / best_of_n.CHOSEN).read_text().splitlines()]
    assert len(rows) == result.metrics["prompts"] == 64
    assert all(row["score"] >= row["first_score"] for row in rows)
    share = [" ".join(row[name] for row in rows).split().count("w3") for name in ("response", "first")]
    assert share[0] > 2 * share[1]
    assert result.metrics["kl_bound"] == pytest.approx(math.log(16) - 15 / 16)


def test_prompts_without_room_are_refused_by_best_of_n(folders: Path) -> None:
    with pytest.raises(StageError, match="None of 64 prompts leaves room for 63 tokens"):
        stages.run(Baseline.BEST_OF_N, {"max_response_length": 63}, inputs_of(folders), folders / "out", NullReporter())


@pytest.mark.parametrize("name", ["rloo", "best-of-n"])
def test_the_command_line_runs_both(folders: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"rloo": {**RLOO, "updates": 1}, "best-of-n": {"responses_per_prompt": 2, "max_response_length": 8}}[
        name
    ]
    lines = [f'{key} = "{path}"' for key, path in inputs_of(folders).items()]
    text = "\n".join(["[inputs]", *lines, "[config]", *(f"{key} = {value}" for key, value in settings.items())])
    (folders / "run.toml").write_text(text)
    assert main([name, str(folders / "run.toml"), "--out", str(folders / "result")]) == 0
    assert json.loads((folders / "result" / "result.json").read_text())["stage"] == name


def test_without_a_critic_there_are_no_values(folders: Path) -> None:
    cast, config = cast_of(folders)
    assert not hasattr(cast, "critic")
    learner = Learner.of(cast.policy, config.learning_rate, config)
    rollout = roles.record_without_critic(cast, replies(cast, config), config)
    assert not rollout.values.any()
    assert rloo.update(cast, learner, rollout, config, torch.Generator().manual_seed(0))["optimizer_steps"] == 1
