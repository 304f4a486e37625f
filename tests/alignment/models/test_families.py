"""What the mechanisms of some families need, through the stages: experts, no classifier class, state spaces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from alignment.data import chat
from alignment.data.batch import Sequences
from alignment.models import forward
from alignment.models.adapters import add_adapters
from alignment.models.device import autocast, dtype_for
from alignment.models.load import (
    context_length,
    load_causal_lm,
    load_config,
    load_reward_model,
    load_scorer,
    load_tokenizer,
    save_model,
)
from alignment.ppo.alarms.monitor import Monitor
from alignment.ppo.alarms.view import Bounds
from alignment.rollout import engines, generation
from alignment.shared import stages
from alignment.shared.config import LoRAConfig, PPOConfig, RewardConfig, RLOOConfig, SFTConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter
from alignment.shared.gpus import refuse_impossible
from alignment.shared.policy.guard_config import AlarmConfig
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from alignment.training import trainer
from tests.support.alignment import families, small_ppo, tiny

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
    tokenizer = load_tokenizer(tmp_path / "sft")
    saved = load_causal_lm(tmp_path / "sft", tokenizer, trained=False)
    assert saved.config.output_router_logits is False
    assert load_config(tmp_path / "sft", dropout=True).output_router_logits is False


def test_a_folder_that_a_trainer_left_with_router_logits_on_is_read_without(tmp_path: Path) -> None:
    families.save("mixtral", tmp_path, output_router_logits=True)
    tokenizer = load_tokenizer(tmp_path)
    model = load_causal_lm(tmp_path, tokenizer, trained=False)
    assert model(torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2)).get("aux_loss") is None


@pytest.mark.parametrize("family", ["codegen", "granite", "cohere", "olmoe", "mamba"])
def test_a_family_without_a_classifier_class_has_reward_models(family: str, tmp_path: Path) -> None:
    families.save(family, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    scorer = load_scorer(tmp_path, tokenizer, trained=True, seed=3)
    trunk = load_causal_lm(tmp_path, tokenizer, trained=False).base_model
    for (name, weight), (_, same) in zip(scorer.base_model.named_parameters(), trunk.named_parameters(), strict=True):
        assert torch.equal(weight, same), name
    save_model(scorer, tokenizer, tmp_path / "saved")
    again = load_scorer(tmp_path / "saved", tokenizer, trained=False)
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
    assert dtype_for(gpu, trained=False) is wanted
    assert trainer.common_arguments(SFTConfig(), Path("out"))["bf16"] is not emulated


@pytest.mark.parametrize("kind", [SFTConfig, RewardConfig])
def test_float16_is_scaled_on_a_gpu_and_refused_without(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match="number_type is 'float16', whose loss is scaled on a GPU alone"):
        trainer.common_arguments(kind(number_type="float16"), Path("out"))
    with pytest.raises(StageError, match=r"and gpus is 0\. Ask for a GPU"):
        refuse_impossible(Stage.SFT, kind(number_type="float16").model_dump(), 0)
    refuse_impossible(Stage.SFT, kind(number_type="float16").model_dump(), 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    found = trainer.common_arguments(kind(number_type="float16"), Path("out"))
    assert (found["fp16"], found["bf16"]) == (True, False)


def test_a_trainers_number_type_holds_inside_its_forward_pass() -> None:
    with torch.autocast("cpu", dtype=torch.float16), autocast(torch.device("cpu")):
        assert torch.nn.Linear(4, 4)(torch.ones(1, 4)).dtype is torch.float16
    with autocast(torch.device("cpu")):
        assert torch.nn.Linear(4, 4)(torch.ones(1, 4)).dtype is torch.float32


@pytest.mark.parametrize("scaled", [True, False])
def test_a_step_that_loss_scaling_skips_is_no_divergence(scaled: bool) -> None:
    """In float16 the scale is found by going too far; elsewhere a norm that is no number ends the run."""
    told: list[Any] = []
    callback = trainer.ReporterCallback(NullReporter(), "train")
    callback.meter = SimpleNamespace(step=told.append)  # type: ignore[assignment]
    arguments: Any = SimpleNamespace(fp16=scaled)
    state: Any = SimpleNamespace(global_step=1)
    entry = {"loss": 1.0, "grad_norm": float("inf")}
    if scaled:
        callback.on_log(arguments, state, None, entry)  # type: ignore[arg-type]
        assert told == [{"loss": 1.0}]
    else:
        with pytest.raises(StageError, match="gradient norm inf"):
            callback.on_log(arguments, state, None, entry)  # type: ignore[arg-type]


def test_dropout_is_set_where_the_family_has_it(tmp_path: Path) -> None:
    families.save("opt", tmp_path / "opt", layerdrop=0.0, attention_dropout=0.0)
    config = load_config(tmp_path / "opt", dropout=0.3)
    assert (config.dropout, config.attention_dropout, config.layerdrop) == (0.3, 0.3, 0.0)
    assert load_config(tmp_path / "opt", dropout=True).attention_dropout == 0.0
    families.save("mamba", tmp_path / "mamba")
    with pytest.raises(StageError, match=r"dropout is 0\.3, but mamba has none to set\."):
        load_config(tmp_path / "mamba", dropout=0.3)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}),  # a cap that these small logits reach
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("llama", {}),
    ],
)
def test_log_probabilities_are_those_of_the_librarys_logits(family: str, changes: dict[str, float]) -> None:
    model = families.causal(family, **changes)
    rows = [([5, 6, 7], [8, 9, 2]), ([10], [11, 2])]
    sequences = Sequences.join([p for p, _ in rows], [r for _, r in rows], [True, True], 1)
    found = forward.response_logprobs(model, sequences, 0.7)
    for row, (prompt, response) in enumerate(rows):
        logs = (model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / 0.7).log_softmax(-1)
        expected = logs.gather(1, torch.tensor(response)[:, None])[:, 0]
        torch.testing.assert_close(found[row, : len(response)], expected, atol=1e-4, rtol=0)
    forward.check_head(model, [5, 6, 7])


def test_a_model_that_does_something_unknown_to_its_logits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while its logits are small, and the cap changes them by a thousandth only."""
    model = families.causal("gemma2", final_logit_softcapping=30.0)
    forward.check_head(model, [5, 6, 7])
    monkeypatch.setattr(forward, "after_head", lambda config: (1.0, None))
    with pytest.raises(StageError, match="Gemma2ForCausalLM changes its logits"):
        forward.check_head(model, [5, 6, 7])


@pytest.mark.parametrize("family", ["bloom", "gptj", "mpt", "falcon", "mamba"])
def test_continuous_batching_is_refused_where_it_is_another_policy(family: str) -> None:
    with pytest.raises(StageError, match="Set rollout_engine to 'generate'"):
        engines.require_same_numbers(engines.Continuous(), families.causal(family), tiny.tokenizer())


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_continuous_batching_serves_the_others(family: str) -> None:
    engines.require_same_numbers(engines.Continuous(), families.causal(family), tiny.tokenizer())


@pytest.mark.parametrize("family", ["mamba", "llama", "bloom", "gemma2", "mpt"])
def test_greedy_replies_are_those_of_the_librarys_own_generate(family: str) -> None:
    model, tokenizer = families.causal(family), tiny.tokenizer()
    prompts = [[3 + (7 * i + j) % 20 for j in range(2 + i)] for i in range(10)]
    source = torch.Generator().manual_seed(0)
    said = generation.generate(model, tokenizer, prompts, max_new_tokens=10, generator=source, temperature=1e-4)
    for row, prompt in enumerate(prompts):
        own = model.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False, eos_token_id=2, pad_token_id=1)
        assert said.ids(row) == own[0, len(prompt) :].tolist()


def test_a_context_that_changes_its_neighbours_numbers_ends_where_it_would() -> None:
    factors = [1.0, 1.0, 1.0, 1.0]
    rope = {"rope_type": "longrope", "short_factor": factors, "long_factor": [4.0] * 4, "rope_theta": 1e4}
    model = families.causal("phi3", rope_parameters=rope, original_max_position_embeddings=16)
    assert context_length(model) == 16
    assert context_length(families.causal("mpt")) == 64
    assert context_length(families.causal("llama")) == 64
    assert context_length(families.causal("bloom")) is None


def test_rows_of_a_full_context_are_not_widened_beyond_it() -> None:
    """MPT's context has a name of its own; a width rounded beyond it was a crash."""
    model = families.causal("mpt")
    sequences = Sequences.join([[5] * 50, [6]], [[7] * 14, [8, 2]], [True, True], 1)
    assert torch.isfinite(forward.response_logprobs(model, sequences, 1.0)).all()


def test_the_auxiliary_loss_of_experts_is_reported_apart(tmp_path: Path) -> None:
    families.save("mixtral", tmp_path / "base", router_aux_loss_coef=0.5)
    rows = [Demonstration(prompt=Prompt.from_text(f"w{i}"), response="w1 w2") for i in range(4)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    files = {"model": tmp_path / "base", "demonstrations": tmp_path / "rows.jsonl"}
    result = run(Stage.SFT, tmp_path, "sft", files, **(SETTINGS | {"micro_batch_size": 2}))
    tokenizer = load_tokenizer(tmp_path / "base")
    model = load_causal_lm(tmp_path / "base", tokenizer, trained=False)
    losses = []
    for row in rows:
        encoded = chat.encode(tokenizer, row.prompt, row.response)
        logs = model(torch.tensor([encoded.ids])).logits[0, :-1].log_softmax(-1)
        wanted = logs.gather(1, torch.tensor(encoded.ids[1:])[:, None])[:, 0]
        losses.append(-wanted[encoded.prompt_length - 1 :])
    first = result.details["curve"][0]
    assert first["loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-4)
    assert first["aux_loss"] > 0


@pytest.mark.parametrize(("setting", "wanted"), [("as_loaded", "BF16"), ("float32", "F32"), ("float16", "F16")])
def test_weights_are_saved_in_the_type_that_they_came_in(setting: str, wanted: str, tmp_path: Path) -> None:
    words = tiny.tokenizer()
    families.causal("llama").to(torch.bfloat16).save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    prompts = [Prompt.from_text(f"w{i}") for i in range(8)]
    write_jsonl(tmp_path / "rows.jsonl", [Demonstration(prompt=p, response="w1 w2") for p in prompts])
    rankings = [Ranking(prompt=p, responses=("w1", "w2 w3"), groups=((0,), (1,))) for p in prompts]
    write_jsonl(tmp_path / "rankings.jsonl", rankings)
    files = {"model": tmp_path / "base", "demonstrations": tmp_path / "rows.jsonl"}
    run(Stage.SFT, tmp_path, "sft", files, **SETTINGS, save_dtype=setting)
    files = {"model": tmp_path / "base", "rankings": tmp_path / "rankings.jsonl"}
    run(Stage.REWARD, tmp_path, "reward", files, **SETTINGS, save_dtype=setting, heldout_fraction=0.0)
    for name in ("sft", "reward"):
        with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {wanted}  # noqa: SIM118
    tokenizer = load_tokenizer(tmp_path / "reward")
    judge = load_reward_model(tmp_path / "reward", tokenizer)
    best = [chat.encode(tokenizer, p, "w1").ids for p in prompts]
    assert float(forward.score_rows(judge, best, 1, 8).mean()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("kind", [SFTConfig, RewardConfig, PPOConfig, RLOOConfig])
def test_adapters_learn_at_a_larger_rate_unless_one_is_set(kind: Any) -> None:
    full, adapters = kind().learning_rate, kind(lora={}).learning_rate
    assert adapters >= 10 * full
    assert kind(lora={}, learning_rate=2e-6).learning_rate == 2e-6
    assert kind(**kind(lora={}).model_dump()).learning_rate == adapters


def test_an_engine_that_samples_from_another_distribution_raises_an_alarm() -> None:
    monitor = Monitor(AlarmConfig(), Bounds(20.0, 0.8))
    assert monitor.observe([{"update": 1.0, "engine_gap": 0.05}], []) == []
    raised = monitor.observe([{"update": 2.0, "engine_gap": 0.3}], [])
    assert [alarm.name for alarm in raised] == ["engine_gap"]
    assert "differ from the model's own by 0.30 nats" in raised[0].sentence
