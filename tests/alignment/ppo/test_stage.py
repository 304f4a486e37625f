"""The PPO stage on models of a few thousand weights: the details that experts check, and the edges."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.data.batch import Sequences
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.ppo import roles
from alignment.ppo import stage as ppo
from alignment.ppo.learner import learning_rate_factor
from alignment.ppo.prompt_set import EndlessBatches
from alignment.ppo.update import targets_of, update
from alignment.shared import stages
from alignment.shared.config import PPOConfig
from alignment.shared.errors import BadInput, Diverged
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, write_jsonl
from tests.support.alignment import tiny
from tests.support.alignment.small_ppo import (
    FAVOURITE,
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


def test_the_reward_rises_and_the_kept_policy_earns_it(finished: Finished) -> None:
    recorded, folders = finished.reported, finished.folder
    details, metrics = finished.result.details, finished.result.metrics
    assert metrics["heldout_score"] > metrics["heldout_score_sft"] + 0.2
    assert 0 < metrics["heldout_kl"] <= 20
    assert [c["step"] for c in details["checkpoints"]] == [0, 4, 8, 12]
    assert [c["chosen"] for c in details["checkpoints"]].count(True) == 1
    assert len(details["curve"]) == len(recorded.steps) == 12
    assert all(math.isfinite(value) for row in details["curve"] for value in row.values())
    after = " ".join(row["after"] for row in details["samples"]).split()
    before = " ".join(row["before"] for row in details["samples"]).split()
    assert after.count("w3") / len(after) > before.count("w3") / len(before)
    assert "standard error" in details["rule"]
    assert details["stopped"] is None
    assert {"prompt", "response", "score"} <= recorded.texts[0].keys()
    tokenizer = load_tokenizer(folders / "out")
    load_causal_lm(folders / "out", tokenizer, trained=False)


def test_the_gate_is_asked_before_any_model_is_loaded(folders: Path) -> None:
    weak = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.47, "heldout_accuracy_high": 0.63}
    (folders / "reward" / "reward_report.json").write_text(json.dumps({"metrics": weak}))
    shutil.rmtree(folders / "sft")
    (folders / "sft").mkdir()  # nothing to load
    with pytest.raises(BadInput, match="not above chance") as caught:
        run(folders)
    assert "accept_reward_model" in caught.value.next_step


def test_what_the_gate_said_is_noted_and_stands_in_the_result(folders: Path) -> None:
    recorded = EvaluationRecorder()
    result = run(folders, recorded, updates=1)
    assert result.details["gate"]["outcome"] == "unmeasured"
    assert "Nothing is known of how good this reward model is" in recorded.notes[0]
    weak = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.47, "heldout_accuracy_high": 0.63}
    (folders / "reward" / "reward_report.json").write_text(json.dumps({"metrics": weak}))
    recorded = EvaluationRecorder()
    result = run(folders, recorded, updates=1, accept_reward_model="A test needs no good model.")
    assert result.details["gate"]["accepted_because"] == "A test needs no good model."
    assert recorded.notes[0].endswith("because: A test needs no good model.")


def test_the_same_seed_gives_the_same_run_and_another_does_not(folders: Path) -> None:
    curves = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        (folders / name).mkdir()
        config = PPOConfig.model_validate(SETTINGS | {"updates": 2, "seed": seed})
        result = ppo.train(config, stages.PPOInputs.model_validate(inputs_of(folders)), folders / name, NullReporter())
        curves.append(result.details["curve"])
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_recomputing_activations_changes_nothing(folders: Path, lora: dict[str, int] | None) -> None:
    """Also under adapters, whose frozen base gives its first layer no gradient to start from."""
    norms = []
    for recompute in (False, True):
        cast, config = cast_of(folders, gradient_checkpointing=recompute, inner_epochs=1, lora=lora)
        rollout = rollout_of(cast, config)
        metrics = update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
        norms.append((metrics["grad_norm"], metrics["critic_grad_norm"]))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert min(norms[0]) > 0


def test_the_ratio_is_one_and_the_kl_zero_before_the_first_step(folders: Path) -> None:
    """With dropout in the model's own config, at a temperature other than 1: both must cancel out."""
    tiny.save(tiny.causal(attention_dropout=0.3), folders / "sft")
    cast, config = cast_of(folders, temperature=0.7, inner_epochs=1)
    rollout = rollout_of(cast, config)
    torch.testing.assert_close(rollout.old_logprobs, rollout.ref_logprobs, atol=0, rtol=0)
    metrics = update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["kl"] == 0.0


def test_adapters_have_no_dropout_and_are_off_in_the_reference(folders: Path) -> None:
    lora = {"rank": 4, "dropout": 0.5}
    cast, config = cast_of(folders, lora=lora, inner_epochs=1, learning_rate=1e-2)
    assert cast.reference is None
    rollout = rollout_of(cast, config)
    update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
    # Adapters start as nothing: only from the second update on could their dropout be seen.
    again = update(cast, *learners(cast, config), rollout_of(cast, config), config, torch.Generator().manual_seed(0))
    assert again["approx_kl"] == pytest.approx(0.0, abs=1e-7)
    moved = roles.policy_logprobs(cast, rollout.sequences, config)
    assert not torch.allclose(moved, rollout.old_logprobs, atol=1e-4)
    still = roles.reference_logprobs(cast, rollout.sequences, config)
    torch.testing.assert_close(still, rollout.ref_logprobs, atol=1e-6, rtol=1e-5)


def test_a_run_with_adapters_leaves_a_whole_model(folders: Path) -> None:
    sharp = tiny.causal()
    with torch.no_grad():
        sharp.lm_head.weight.mul_(10)  # adapters leave the head alone: it must be able to prefer a word
    tiny.save(sharp, folders / "sft")
    result = run(folders, lora={"rank": 4}, learning_rate=2e-2)
    assert result.metrics["heldout_score"] > result.metrics["heldout_score_sft"]
    tokenizer = load_tokenizer(folders / "out")
    merged = load_causal_lm(folders / "out", tokenizer, trained=False)
    assert type(merged).__name__ == "LlamaForCausalLM"


def test_the_critic_starts_as_the_reward_model(folders: Path) -> None:
    """At a response's last state but one it says what the reward model would say of the text so far."""
    cast, config = cast_of(folders, missing_eos="keep")
    rollout = rollout_of(cast, config)
    sequences = rollout.sequences
    cut = Sequences.join(
        [sequences.input_ids[0, : int(sequences.prompt_lengths[0])].tolist()[:-1]],
        [[int(sequences.input_ids[0, int(sequences.prompt_lengths[0]) - 1])]],
        [True],
        1,
    )
    assert float(rollout.values[0, 0]) == pytest.approx(float(roles.score(cast, cut, config)[0]), abs=1e-5)


def test_policy_and_critic_share_no_weight(folders: Path) -> None:
    cast, _ = cast_of(folders)
    assert not {p.data_ptr() for p in cast.policy.parameters()} & {p.data_ptr() for p in cast.critic.parameters()}
    assert not any(p.requires_grad for m in (cast.reference, cast.reward_model) for p in m.parameters())


def test_a_missing_stop_token_replaces_the_score(folders: Path) -> None:
    cast, config = cast_of(folders, missing_eos_score=-3.0)
    sequences = Sequences.join([[3, 9], [3, 9]], [[FAVOURITE, 2], [FAVOURITE, FAVOURITE]], [True, False], 1)
    scores = roles.score(cast, sequences, config)
    assert float(scores[0]) > 0.0
    assert float(scores[1]) == -3.0
    as_it_is = roles.score(cast, sequences, PPOConfig.model_validate(SETTINGS | {"missing_eos": "keep"}))
    assert float(as_it_is[1]) > 0.0


def test_scores_are_clipped(folders: Path) -> None:
    cast, config = cast_of(folders, score_clip=0.05)
    sequences = Sequences.join([[3, 9]], [[FAVOURITE, 2]], [True], 1)
    assert float(roles.score(cast, sequences, config)[0]) == pytest.approx(0.05)


def test_how_the_batch_is_cut_changes_nothing(folders: Path) -> None:
    """Weights after one update, with micro-batches of 32, 8 and 1 over responses of unequal length."""
    after = []
    for micro in (32, 8, 1):
        cast, config = cast_of(folders, micro_batch_size=micro, learning_rate=1e-3, inner_epochs=2)
        rollout = rollout_of(cast, config)
        update(cast, *learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
        after.append(torch.cat([p.detach().flatten() for m in (cast.policy, cast.critic) for p in m.parameters()]))
    # Adam's first steps have the size of the rate whatever the gradient's: leave room for its sign at 0.
    torch.testing.assert_close(after[0], after[1], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(after[0], after[2], atol=2e-4, rtol=1e-3)


def test_values_on_padding_do_not_matter(folders: Path) -> None:
    cast, config = cast_of(folders)
    rollout = rollout_of(cast, config)
    assert not rollout.mask.all()
    spoilt = replace(
        rollout,
        values=torch.where(rollout.mask, rollout.values, 1e6),
        ref_logprobs=torch.where(rollout.mask, rollout.ref_logprobs, math.nan),
    )
    clean, dirty = targets_of(rollout, config), targets_of(spoilt, config)
    torch.testing.assert_close(clean.advantages, dirty.advantages)
    torch.testing.assert_close(clean.returns, dirty.returns)
    torch.testing.assert_close(clean.kl, dirty.kl)


def test_an_update_ends_at_the_target_kl(folders: Path) -> None:
    cast, config = cast_of(folders, target_kl=1e-4, inner_epochs=50, learning_rate=1e-2)
    metrics = update(cast, *learners(cast, config), rollout_of(cast, config), config, torch.Generator())
    assert 1 <= metrics["optimizer_steps"] < 50


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate_factor(u, warmup=2.0, updates=4) for u in range(5)]
    assert rates == pytest.approx([0.5, 0.75, 0.5, 0.25, 0.0])
    assert learning_rate_factor(0, warmup=0.3, updates=10) == 1.0


def test_a_step_too_large_is_divergence_and_leaves_nothing(folders: Path) -> None:
    with pytest.raises(Diverged) as caught:
        run(folders, learning_rate=1.0, kl_coef=0.0, max_kl=1.0, inner_epochs=8, updates=3, evaluate_every=1)
    assert caught.value.next_step == "Lower learning_rate, raise kl_coef or set target_kl."
    assert not (folders / "out" / "config.json").exists()


def test_divergence_after_a_kept_policy_ends_training_with_that_policy(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights break in update 9; the best policy of the evaluations at 4 and 8 is what the stage leaves."""
    updates: list[int] = []

    def breaking(cast: roles.ActorCritic, *rest: Any, **more: Any) -> dict[str, float]:
        metrics = update(cast, *rest, **more)
        updates.append(len(updates) + 1)
        if updates[-1] == 9:
            with torch.no_grad():
                next(cast.policy.parameters()).fill_(math.nan)
            metrics["policy_loss"] = math.nan
        return metrics

    monkeypatch.setattr(ppo, "update", breaking)
    recorded = EvaluationRecorder()
    result = run(folders, recorded)
    kept = int(result.metrics["chosen_update"])
    assert kept in (4, 8)
    assert result.metrics["updates"] == len(result.details["curve"]) == 8
    assert "policy_loss became nan in update 9" in result.details["stopped"]
    assert f"the policy of update {kept}" in result.details["stopped"]
    assert "Lower learning_rate" in result.details["stopped"]
    assert result.details["stopped"] in recorded.notes
    left = load_causal_lm(folders / "out", load_tokenizer(folders / "out"), trained=False)
    assert all(p.isfinite().all() for p in left.parameters())


def test_a_reward_model_that_says_nan_is_named(folders: Path) -> None:
    broken = tiny.scorer()
    with torch.no_grad():
        broken.score.weight.fill_(3e38)  # a number, but no score comes of it
    tiny.save(broken, folders / "reward")
    with pytest.raises(Diverged, match="The reward model scores"):
        run(folders)


def test_another_tokenizer_is_refused(folders: Path) -> None:
    other = tiny.tokenizer()
    other.add_tokens(["w99"])
    tiny.scorer(vocab_size=len(other)).save_pretrained(folders / "reward")
    other.save_pretrained(folders / "reward")
    with pytest.raises(BadInput, match=r"another tokenizer \(27 tokens\)"):
        run(folders)


def test_long_prompts_are_counted_and_few_prompts_repeat(folders: Path) -> None:
    long = Prompt.from_text(" ".join(["w1"] * 80))
    write_jsonl(folders / "prompts.jsonl", [*PROMPTS[:12], PROMPTS[0], long])
    recorded = EvaluationRecorder()
    result = run(folders, recorded, updates=1)
    counts = result.details["counts"]
    assert counts["prompts"] == 13  # the repeated one stands once
    assert counts["too_long"] == 1
    assert counts["train"] + counts["heldout"] == 12
    assert any("left out" in note for note in recorded.notes)
    assert any("by repeating" in note for note in recorded.notes)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_response_length": 63}, "All 64 prompts are longer than the 1 tokens"),
        ({"heldout_fraction": 0.999999}, "All 64 prompts are held out"),
    ],
)
def test_prompts_that_cannot_work_are_refused(folders: Path, settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        run(folders, **settings)


def test_batches_cycle_evenly_in_changing_order() -> None:
    batches = EndlessBatches([[i] for i in range(5)], 3, torch.Generator().manual_seed(0))
    drawn = [ids[0] for _ in range(5) for ids in next(batches)]
    assert [sorted(drawn[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert drawn[:5] != drawn[5:10]


def test_each_evaluation_is_reported_beside_the_sft_policys_replies(finished: Finished) -> None:
    """The same replies to the same held-out prompts as in the files, the first `compare_prompts` of them."""
    recorded = finished.reported
    said: dict[int, list[dict[str, Any]]] = {}
    for line in (finished.folder / "out" / "looks.jsonl").read_text().splitlines():
        row = json.loads(line)
        said.setdefault(row["update"], []).append(row)
    assert [number for number, _ in recorded.evaluations] == [4, 8, 12]
    for number, rows in recorded.evaluations:
        assert len(rows) == 5
        for row, before, now in zip(rows, said[0], said[number], strict=False):
            assert Prompt.from_line(row["prompt"]).key == before["key"] == now["key"]
            assert (row["before"], row["response"]) == (before["response"], now["response"])
            assert (row["score_before"], row["score"], row["kl"]) == (before["score"], now["score"], now["kl"])
    assert any(row["before"] != row["response"] for _, rows in recorded.evaluations for row in rows)


def test_no_evaluation_is_reported_where_nothing_is_to_be_compared(folders: Path) -> None:
    recorded = EvaluationRecorder()
    run(folders, recorded, updates=1, compare_prompts=0)
    assert (recorded.evaluations, len(recorded.steps)) == ([], 1)
