"""Ensembles, adapters and frozen trunks: what a reward stage leaves behind and what scores with it."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignment.models.ensemble import Ensemble, combine_scores
from alignment.models.forward import score_members, score_rows
from alignment.models.load import load_reward_model, load_scorer, load_tokenizer, read_score_scale
from alignment.ppo.roles import load_roles
from alignment.reward import stage as reward
from alignment.shared import stages
from alignment.shared.config import PPOConfig
from alignment.shared.errors import BadInput, StageError
from alignment.shared.events import NullReporter
from alignment.shared.records import Prompt, Ranking, write_jsonl
from tests.support.alignment import tiny

pytestmark = pytest.mark.slow

SETTINGS = {"learning_rate": 1e-2, "batch_size": 8, "micro_batch_size": 8, "max_length": 64}
ROWS = [[7, 8, 9, 2], [10, 11, 2], [12, 13, 14, 15, 2]]


def test_combinations_by_hand() -> None:
    """Members say 1, 2, 6 and 4, 4, 4: means 3 and 4, variances 14/3 and 0."""
    members = torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]])
    assert combine_scores(members, "mean", 0.5).tolist() == [3.0, 4.0]
    assert combine_scores(members, "min", 0.5).tolist() == [1.0, 4.0]
    assert combine_scores(members, "variance", 0.5).tolist() == pytest.approx([3 - 0.5 * 14 / 3, 4.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ensemble")
    tiny.save(tiny.causal(), made / "sft")
    rng = random.Random(0)
    found = []
    for _ in range(24):
        texts = tuple(dict.fromkeys(" ".join(rng.choices(tiny.WORDS, k=3)) for _ in range(3)))
        groups = tuple((i,) for i in rng.sample(range(len(texts)), len(texts)))
        found.append(Ranking(prompt=Prompt.from_text(" ".join(rng.choices(tiny.WORDS, k=5))), responses=texts,
                             groups=groups))  # fmt: skip
    write_jsonl(made / "rankings.jsonl", found)
    return made


def train(folder: Path, out: Path, **settings: Any) -> Path:
    inputs = {"model": folder / "sft", "rankings": folder / "rankings.jsonl"}
    stages.run(stages.Stage.REWARD, SETTINGS | settings, inputs, out, NullReporter())
    return out


@pytest.mark.parametrize(
    "settings",
    [
        {"member_kind": "seed", "combine": "min"},
        {"member_kind": "bootstrap", "combine": "mean"},
        {"member_kind": "adapter", "combine": "variance", "variance_coef": 2.0, "lora": {"rank": 2}},
    ],
)
def test_an_ensemble_is_one_artifact_that_scores_as_one(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    out = train(folder, tmp_path / "made", members=3, **settings)
    moved = Path(shutil.move(out, tmp_path / "moved"))  # the artifact holds all that it needs
    tokenizer = load_tokenizer(moved)
    ensemble = load_reward_model(moved, tokenizer)
    assert isinstance(ensemble, Ensemble)
    members = score_members(ensemble, ROWS, 1, 8)
    assert members.shape == (3, 3)
    assert members.std(dim=0).min() > 0  # they differ
    expected = combine_scores(members, settings["combine"], settings.get("variance_coef", 0.5))
    torch.testing.assert_close(score_rows(ensemble, ROWS, 1, 8), expected)
    for number in range(3):
        alone = load_scorer(moved / f"member-{number}", tokenizer, trained=False)
        torch.testing.assert_close(score_rows(alone, ROWS, 1, 8), members[number], atol=1e-5, rtol=1e-4)
        assert read_score_scale(moved / f"member-{number}").mean == pytest.approx(alone.config.score_mean)
    critic = load_scorer(moved, tokenizer, trained=True)  # PPO's begins as the first member
    torch.testing.assert_close(score_rows(critic, ROWS, 1, 8), members[0], atol=1e-5, rtol=1e-4)
    assert not list(moved.rglob("*.bin"))


def test_ppo_takes_an_ensemble_for_its_reward_model(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "made", members=2, combine="min")
    inputs = stages.PPOInputs(model=folder / "sft", reward_model=out, prompts=folder / "rankings.jsonl")
    roles = load_roles(PPOConfig(max_length=64, max_response_length=8), inputs)
    assert isinstance(roles.reward_model, Ensemble)
    assert score_rows(roles.reward_model, ROWS, 1, 8).shape == (3,)


def test_saved_adapters_need_their_base_and_say_so(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "work")
    out = train(tmp_path / "work", tmp_path / "adapter", lora={"rank": 2}, save_adapter=True)
    assert not (out / "model.safetensors").exists()
    assert any("score" in name for name in load_file(out / "adapter_model.safetensors"))
    merged = train(tmp_path / "work", tmp_path / "merged", lora={"rank": 2})
    tokenizer = load_tokenizer(out)
    scores = [score_rows(load_reward_model(f, tokenizer), ROWS, 1, 8) for f in (out, merged)]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=1e-4)
    shutil.rmtree(tmp_path / "work" / "sft")
    with pytest.raises(BadInput, match="which is not there"):
        load_reward_model(out, tokenizer)


def test_a_frozen_trunk_trains_its_head_alone(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "frozen", frozen_trunk=True)
    before, after = load_file(folder / "sft" / "model.safetensors"), load_file(out / "model.safetensors")
    trunk = [name for name in after if name != "score.weight"]
    assert trunk
    assert all(torch.equal(after[name], before[name]) for name in trunk)
    fresh = load_scorer(folder / "sft", tiny.tokenizer(), trained=False, seed=0).score.weight
    assert not torch.equal(after["score.weight"], fresh)


def test_recomputed_activations_train_the_same_model(folder: Path, tmp_path: Path) -> None:
    plain, recomputed = (
        load_file(train(folder, tmp_path / str(on), gradient_checkpointing=on) / "model.safetensors")
        for on in (False, True)
    )
    for name, weight in plain.items():
        torch.testing.assert_close(recomputed[name], weight, atol=1e-5, rtol=1e-4)


def test_the_list_wise_loss_trains_a_model(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "list", loss="plackett_luce", ties="soft")
    assert json.loads((out / "score.json").read_text())["n"] > 0


def test_a_reward_model_without_its_head_is_named(folder: Path, tmp_path: Path) -> None:
    out = train(folder, tmp_path / "made")
    weights = load_file(out / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="without its score head"):
        load_reward_model(out, load_tokenizer(out))


def test_random_labels_are_used_and_measured_to_be_no_better_than_chance(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "random"
    inputs = {"model": folder / "sft", "rankings": folder / "rankings.jsonl"}
    result = stages.run(stages.Stage.REWARD, SETTINGS | {"heldout_fraction": 0.4}, inputs, out, NullReporter())
    assert result.metrics["heldout_accuracy_low"] <= 0.5  # and the gate before PPO asks for this number


def test_a_response_that_does_not_fit_is_refused_or_cut(folder: Path) -> None:
    tokenizer, model = tiny.tokenizer(), tiny.scorer()
    model.config.score_mean = 0.0
    prompts, responses = [Prompt.from_text("w1")], ["w2 " * 80]
    with pytest.raises(StageError, match="longer than the reward model's 64 tokens"):
        reward.score(model, tokenizer, prompts, responses)
    assert reward.score(model, tokenizer, prompts, responses, cut=True).isfinite().all()
