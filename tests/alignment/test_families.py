"""What the mechanisms of some families need, through the stages: experts, no classifier class, state spaces."""

from pathlib import Path
from typing import Any

import families
import pytest
import small_ppo
import torch

from alignment import forward, models, stages, trainer
from alignment.adapters import add_adapters
from alignment.config import LoRAConfig, SFTConfig, Stage
from alignment.events import NullReporter, StageError
from alignment.records import Demonstration, Prompt, Ranking, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = {"batch_size": 4, "micro_batch_size": 4, "epochs": 1, "max_length": 32, "learning_rate": 1e-3}
PPO = {"batch_size": 4, "micro_batch_size": 4, "updates": 1, "max_length": 32, "accept_reward_model": "a test of forms"}


def run(stage: Stage, folder: Path, name: str, inputs: dict[str, Any], **settings: Any) -> stages.StageResult:
    return stages.run(stage, settings, inputs, folder / name, NullReporter())


def through_all_stages(family: str, folder: Path, **settings: Any) -> stages.StageResult:
    """SFT, sample, reward and PPO on a tiny model of the family; PPO's result."""
    families.save(family, folder / "base")
    prompts = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(8)]
    write_jsonl(folder / "demonstrations.jsonl", [Demonstration(prompt=p, response="w1 w2") for p in prompts])
    rankings = [Ranking(prompt=p, responses=("w1", "w2 w3"), groups=((0,), (1,))) for p in prompts]
    write_jsonl(folder / "rankings.jsonl", rankings)
    write_jsonl(folder / "prompts.jsonl", prompts)
    demonstrations = {"model": folder / "base", "demonstrations": folder / "demonstrations.jsonl"}
    run(Stage.SFT, folder, "sft", demonstrations, **SETTINGS, **settings)
    asked = {"models": {"sft": folder / "sft"}, "prompts": folder / "prompts.jsonl"}
    run(Stage.SAMPLE, folder, "sample", asked, max_response_length=4, responses_per_prompt=2)
    ranked = {"model": folder / "sft", "rankings": folder / "rankings.jsonl"}
    run(Stage.REWARD, folder, "reward", ranked, **SETTINGS, **settings, heldout_fraction=0.3)
    files = {"model": folder / "sft", "reward_model": folder / "reward", "prompts": folder / "prompts.jsonl"}
    return run(Stage.PPO, folder, "ppo", files, **(small_ppo.SETTINGS | PPO), **settings)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_mixture_of_experts_goes_through_all_stages(family: str, tmp_path: Path) -> None:
    """TRL lets its forward pass make router logits, and left that on in the saved config."""
    through_all_stages(family, tmp_path)
    tokenizer = models.load_tokenizer(tmp_path / "sft")
    saved = models.load_causal_lm(tmp_path / "sft", tokenizer, trained=False)
    assert saved.config.output_router_logits is False
    assert models.load_config(tmp_path / "sft", dropout=True).output_router_logits is False


def test_a_folder_that_a_trainer_left_with_router_logits_on_is_read_without(tmp_path: Path) -> None:
    families.save("mixtral", tmp_path, output_router_logits=True)
    tokenizer = models.load_tokenizer(tmp_path)
    model = models.load_causal_lm(tmp_path, tokenizer, trained=False)
    assert model(torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2)).get("aux_loss") is None


@pytest.mark.parametrize("family", ["codegen", "granite", "cohere", "olmoe", "mamba"])
def test_a_family_without_a_classifier_class_has_reward_models(family: str, tmp_path: Path) -> None:
    families.save(family, tmp_path)
    tokenizer = models.load_tokenizer(tmp_path)
    scorer = models.load_scorer(tmp_path, tokenizer, trained=True, seed=3)
    trunk = models.load_causal_lm(tmp_path, tokenizer, trained=False).base_model
    for (name, weight), (_, same) in zip(scorer.base_model.named_parameters(), trunk.named_parameters(), strict=True):
        assert torch.equal(weight, same), name
    models.save_model(scorer, tokenizer, tmp_path / "saved")
    again = models.load_scorer(tmp_path / "saved", tokenizer, trained=False)
    rows = [[5, 6, 7, 2], [8, 9, 2]]
    scores = forward.score_rows(scorer.eval(), rows, 1, 2)
    torch.testing.assert_close(scores, forward.score_rows(again, rows, 1, 2))
    alone = torch.cat([forward.score_rows(again, [row], 1, 1) for row in rows])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=1e-5)


def test_a_family_without_a_classifier_class_goes_through_all_stages(tmp_path: Path) -> None:
    result = through_all_stages("codegen", tmp_path)
    assert result.details["curve"][0]["learning_rate"] > 0
    assert (tmp_path / "ppo" / "model.safetensors").exists()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_adapters_sit_on_what_the_family_usually_adapts(family: str) -> None:
    model = add_adapters(families.causal(family), LoRAConfig(rank=2), "CAUSAL_LM", 0)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert not [name for name in trained if any(part in name for part in ("router", "expert", ".gate.", "lm_head"))]
    assert torch.isfinite(model(torch.tensor([[5, 6, 7]])).logits).all()


def test_adapters_sit_where_the_setting_says() -> None:
    model = add_adapters(families.causal("llama"), LoRAConfig(rank=2, targets=("q_proj", "v_proj")), "CAUSAL_LM", 0)
    names = {name.split(".lora_")[0].rpartition(".")[2] for name, w in model.named_parameters() if w.requires_grad}
    assert names == {"q_proj", "v_proj"}
    model = add_adapters(families.causal("qwen2_moe"), LoRAConfig(rank=2, targets="all_linear"), "CAUSAL_LM", 0)
    assert any("shared_expert" in name for name, weight in model.named_parameters() if weight.requires_grad)


@pytest.mark.parametrize(("family", "target"), [("llama", "query"), ("mamba", "out_proj")])
def test_a_layer_that_cannot_be_adapted_is_refused_by_name(family: str, target: str) -> None:
    with pytest.raises(StageError, match=rf"lora.targets: {family} has no layer '{target}' to adapt. Choose of \w+"):
        add_adapters(families.causal(family), LoRAConfig(targets=(target,)), "CAUSAL_LM", 0)


@pytest.mark.parametrize("emulated", [True, False])
def test_bfloat16_is_asked_only_of_a_gpu_that_has_it(emulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A V100 or T4: PyTorch says that bfloat16 is supported, unless it is told not to count what it emulates."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or not emulated
    )
    gpu = torch.device("cuda")
    wanted = torch.float32 if emulated else torch.bfloat16
    assert models.dtype_for(gpu, trained=False) is wanted
    assert trainer.common_arguments(SFTConfig(), Path("out"))["bf16"] is not emulated
