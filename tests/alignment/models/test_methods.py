"""The light methods: each trains only what it says, learns, is saved and loaded as it is, and goes on bit by bit."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alignment.data.batch import Sequences
from alignment.models import forward
from alignment.models.adapters import save_adapter
from alignment.models.load import load_base, load_causal_lm, load_reward_model, load_scorer, load_tokenizer
from alignment.models.methods.apply import apply
from alignment.models.methods.four_bits import in_four_bits
from alignment.models.methods.soft_prompts import add_soft_prompt, soft_tokens
from alignment.models.sharing import merged
from alignment.models.tuners.bottleneck import BottleneckConfig, BottleneckLayer
from alignment.ppo.roles import reference_logprobs
from alignment.ppo.update import update
from alignment.rollout import generation
from alignment.shared.config import PPOConfig, RewardConfig, RLOOConfig, SFTConfig, Stage
from alignment.shared.errors import BadInput, StageError
from alignment.shared.events import Paused
from alignment.shared.gpus import refuse_impossible
from alignment.shared.methods import ADAPTERS, SOFT, UNMERGED, Bottleneck, SoftPrompt
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from alignment.untrusted.files import UnsafeModel
from alignment.untrusted.folder import inspect
from tests.support.alignment import families, small_ppo, tiny
from tests.support.alignment.kills import RecordingReporter, Run

pytestmark = pytest.mark.slow

TRAINED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # settings; what every trained weight's name has in it
    "full": ({"method": "full"}, ("",)),
    "lora": ({"method": "lora", "lora": {"rank": 2}}, (".lora_", "score")),
    "rslora and dora": ({"lora": {"rank": 2, "rank_stabilised": True, "dora": True}}, (".lora_", "score")),
    "qlora": ({"lora": {"rank": 2, "bits": 4}}, (".lora_", "score")),
    "ia3": ({"method": "ia3"}, (".ia3_l", "score")),
    "houlsby": ({"method": "houlsby", "bottleneck": 3}, (".bottleneck_down.", ".bottleneck_up.", "score")),
    "last block": ({"method": "layers", "layers": 1}, ("model.layers.1.", "score")),
    "parts by name": ({"method": "layers", "layers": ["v_proj", "norm"]}, (".v_proj.", "model.norm.", "score")),
    "bitfit": ({"method": "bitfit"}, (".bias", "score")),
    "prefix": ({"method": "prefix", "virtual_tokens": 3}, ("prompt_encoder.",)),
    "prompt": ({"method": "prompt", "virtual_tokens": 3}, ("prompt_encoder.",)),
    "p_tuning": ({"method": "p_tuning", "virtual_tokens": 3}, ("prompt_encoder.",)),
}
HARD = [name for name in TRAINED if name not in SOFT]  # that every stage has
ALWAYS = (
    "qlora",
    "ia3",
    "houlsby",
    "last block",
    "prefix",
    "p_tuning",
)  # a way of its own each; the others run with `make deep`
COMMON = {"batch_size": 4, "micro_batch_size": 2, "max_length": 32, "save_every": 2}
QLORA, LORA = SFTConfig(lora={"bits": 4}), SFTConfig(lora={})
ROWS = [([5, 6, 7], [8, 9, 2]), ([10] * 6, [11, 12, 2])]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with biases in its attention, a reward model, and records."""
    folder = small_ppo.write(tmp_path_factory.mktemp("files"))
    tiny.save(tiny.causal(attention_bias=True), folder / "sft")
    tiny.save(tiny.scorer(1, attention_bias=True), folder / "reward")
    prompts = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(8)]
    write_jsonl(folder / "demonstrations.jsonl", [Demonstration(prompt=p, response="w1 w2") for p in prompts])
    rankings = [Ranking(prompt=p, responses=("w1", "w2 w3"), groups=((0,), (1,))) for p in prompts]
    write_jsonl(folder / "rankings.jsonl", rankings)
    return folder


def cases(*names: str) -> list[Any]:
    deep = pytest.mark.deep(reason="the same way as one of the others")
    return [name if name in ALWAYS else pytest.param(name, marks=deep) for name in names]


def run_of(files: Path, stage: Stage, name: str, checkpoints: Path | None = None) -> Run:
    settings = COMMON | TRAINED[name][0]
    inputs: dict[str, Any] = {"model": files / "sft", "checkpoints": checkpoints}
    if stage is Stage.SFT:
        return Run(stage, settings | {"epochs": 4}, inputs | {"demonstrations": files / "demonstrations.jsonl"})
    if stage is Stage.REWARD:
        more = {"epochs": 4, "heldout_fraction": 0.0}
        return Run(stage, settings | more, inputs | {"rankings": files / "rankings.jsonl"})
    more = {"updates": 3, "evaluate_every": 3, "max_response_length": 4, "heldout_fraction": 0.1}
    more |= {"min_specificity": 0.0, "evaluate_replies": 8}
    return Run(stage, settings | more, inputs | {"reward_model": files / "reward", "prompts": files / "prompts.jsonl"})


def sequences() -> Sequences:
    return Sequences.join([p for p, _ in ROWS], [r for _, r in ROWS], [True, True], 1)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_trains_what_it_says_and_nothing_else(files: Path, name: str) -> None:
    settings, parts = TRAINED[name]
    config = SFTConfig(**settings)
    more: dict[str, Any] = {"trained": True, "light": config.light}
    models: list[Any] = [load_causal_lm(files / "sft", tiny.tokenizer(), **more)]
    if name not in SOFT:
        models.append(load_scorer(files / "sft", tiny.tokenizer(), **more))
    for model in models:
        trained = [key for key, weight in model.named_parameters() if weight.requires_grad]
        assert all(any(part in key for part in parts) for key in trained)
        assert all(any(part in key for key in trained) for part in parts if part != "score")
        assert (model is models[0]) or any("score" in key for key in trained), "a head is always learnt"


def test_ia3_rescales_keys_values_and_the_feed_forward_in_every_family() -> None:
    for family in ("gpt2", "bloom", "mixtral", "mpt", "mamba"):
        model = families.causal(family)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if key.endswith("bias"):
                    weight.fill_(0.5)  # as new they are 0, whatever they are multiplied by
        before = model(torch.tensor([[5, 6, 7]])).logits
        light = SFTConfig(method="ia3").light
        adapted: Any = apply(model, light, "CAUSAL_LM", 0)
        trained = [weight for weight in adapted.parameters() if weight.requires_grad]
        assert trained
        torch.testing.assert_close(adapted(torch.tensor([[5, 6, 7]])).logits, before)
        with torch.no_grad():
            for weight in trained:
                weight.normal_(mean=1.0, std=0.3)
        said = adapted.eval()(torch.tensor([[5, 6, 7]])).logits
        whole = merged(adapted, torch.float32)(torch.tensor([[5, 6, 7]])).logits
        torch.testing.assert_close(whole, said, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(adapted(torch.tensor([[5, 6, 7]])).logits, said, msg="merging changes no original")


# ---------------------------------------------------------------- what learns, is saved and goes on


@pytest.mark.parametrize("name", cases(*TRAINED))
def test_sft_learns_and_goes_on_from_its_checkpoint(files: Path, tmp_path: Path, name: str) -> None:
    reported, again = RecordingReporter(pause_at=5), RecordingReporter()
    whole = run_of(files, Stage.SFT, name).into(tmp_path / "whole", RecordingReporter())
    paused = run_of(files, Stage.SFT, name, tmp_path / "checkpoints")
    with pytest.raises(Paused):
        paused.into(tmp_path / "out", reported)
    assert paused.into(tmp_path / "out", again) == whole, "bit by bit"
    assert len(again.steps) == 3
    curve = json.loads((tmp_path / "out" / "result.json").read_text())["details"]["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    apart = name in (*UNMERGED, "qlora")
    assert (tmp_path / "out" / "adapter_config.json").exists() == apart
    if apart:  # a trainer would round what is learnt on four bits
        assert {w.dtype for w in load_file(tmp_path / "out" / "adapter_model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("name", cases(*(name for name in HARD if name != "full")))
def test_a_reward_model_learns_and_is_loaded_as_it_was_saved(files: Path, tmp_path: Path, name: str) -> None:
    whole = run_of(files, Stage.REWARD, name).into(tmp_path / "whole", RecordingReporter())
    paused = run_of(files, Stage.REWARD, name, tmp_path / "checkpoints")
    with pytest.raises(Paused):
        paused.into(tmp_path / "out", RecordingReporter(pause_at=5))
    assert paused.into(tmp_path / "out", RecordingReporter()) == whole, "bit by bit"
    judge = load_reward_model(tmp_path / "out", load_tokenizer(tmp_path / "out"))
    scores = forward.score_rows(judge, [p + r for p, r in ROWS], 1, 2)
    again = load_scorer(tmp_path / "whole", tiny.tokenizer(), trained=False)
    torch.testing.assert_close(forward.score_rows(again, [p + r for p, r in ROWS], 1, 2), scores)
    assert (tmp_path / "out" / "adapter_config.json").exists() == ("lora" in name or name in ADAPTERS)


@pytest.mark.parametrize("name", cases(*(name for name in HARD if name != "full")))
def test_ppo_begins_at_its_reference_moves_and_goes_on(files: Path, tmp_path: Path, name: str) -> None:
    cast, config = small_ppo.cast_of(files, **TRAINED[name][0], inner_epochs=1)
    rollout = small_ppo.rollout_of(cast, config)
    torch.testing.assert_close(rollout.old_logprobs, rollout.ref_logprobs)
    before = [weight.clone() for weight in cast.policy.parameters()]
    metrics = update(cast, *small_ppo.learners(cast, config), rollout, config, torch.Generator().manual_seed(0))
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
    moved = [not torch.equal(w, old) for w, old in zip(cast.policy.parameters(), before, strict=True)]
    assert any(moved)
    for weight, old in zip(cast.policy.parameters(), before, strict=True):
        assert torch.equal(weight, old) or weight.requires_grad
    torch.testing.assert_close(reference_logprobs(cast, rollout.sequences, config), rollout.ref_logprobs)

    whole = run_of(files, Stage.PPO, name).into(tmp_path / "whole", RecordingReporter())
    paused = run_of(files, Stage.PPO, name, tmp_path / "checkpoints")
    with pytest.raises(Paused):
        paused.into(tmp_path / "out", RecordingReporter(pause_at=1))
    assert paused.into(tmp_path / "out", RecordingReporter()) == whole, "bit by bit"


@pytest.mark.parametrize("name", cases(*(name for name in HARD if name not in UNMERGED)))
def test_an_sft_model_is_loaded_as_it_was_trained(files: Path, tmp_path: Path, name: str) -> None:
    """As weights, and where the method has adapters also as these alone, from which a next stage starts."""
    run_of(files, Stage.SFT, name).into(tmp_path / "merged", RecordingReporter())
    found = [logprobs_of(tmp_path / "merged")]
    if "lora" in name or name == "ia3":
        apart = run_of(files, Stage.SFT, name)
        apart.config["save_adapter"] = True
        apart.into(tmp_path / "apart", RecordingReporter())
        assert not (tmp_path / "apart" / "model.safetensors").exists()
        found.append(logprobs_of(tmp_path / "apart"))
        trained: Any = load_causal_lm(
            tmp_path / "apart", tiny.tokenizer(), trained=True, light=SFTConfig(lora={}).light
        )
        found.append(forward.response_logprobs(trained, sequences(), 1.0))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0], logprobs_of(files / "sft"), atol=1e-4), "it has learnt"


def logprobs_of(folder: Path) -> torch.Tensor:
    model = load_causal_lm(folder, load_tokenizer(folder), trained=False)
    return forward.response_logprobs(model, sequences(), 1.0).detach()


# ---------------------------------------------------------------- bottleneck adapters


def test_a_bottleneck_adds_what_was_worked_out_by_hand() -> None:
    """h = (1, -2), inner gelu(h1 - h2 + 1) = gelu(4); twice and minus that is added. Switched off it adds nothing."""
    base = torch.nn.Linear(2, 2, bias=False)
    layer = BottleneckLayer(base, "default", BottleneckConfig(width=1))
    x = torch.tensor([[1.0, -2.0]])
    with torch.no_grad():
        base.weight.copy_(torch.eye(2))
    torch.testing.assert_close(layer(x), x)
    down, up = (part["default"] for part in (layer.bottleneck_down, layer.bottleneck_up))
    with torch.no_grad():
        for weight, values in ((down.weight, [[1.0, -1.0]]), (down.bias, [1.0]), (up.weight, [[2.0], [-1.0]])):
            weight.copy_(torch.tensor(values))
    inner = 4 * 0.9999683287581669  # 4 times the normal distribution at 4
    torch.testing.assert_close(layer(x), torch.tensor([[1 + 2 * inner, -2 - inner]]))
    layer.enable_adapters(False)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "gptj", "mpt", "gemma2"])
def test_bottlenecks_stand_behind_both_sublayers_and_begin_as_nothing(family: str) -> None:
    """2 L (2 d m + m + d) numbers, here of 2 blocks 32 wide."""
    model = families.causal(family).eval()
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    adapted: Any = apply(model, Bottleneck(3), "CAUSAL_LM", 0)
    assert torch.equal(adapted.eval()(ids).logits, before)
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    assert sum(weight.numel() for weight in trained) == 2 * 2 * (2 * 32 * 3 + 3 + 32)
    with torch.no_grad():
        for weight in trained:
            weight.normal_(std=0.3)
    assert not torch.allclose(adapted(ids).logits, before, atol=1e-2)
    with adapted.disable_adapter():
        assert torch.equal(adapted(ids).logits, before)


def test_beside_experts_and_states_bottlenecks_stand_where_adapters_do() -> None:
    adapted: Any = apply(families.causal("mixtral"), Bottleneck(3), "CAUSAL_LM", 0)
    layers = {key.partition(".bottleneck_")[0] for key, w in adapted.named_parameters() if w.requires_grad}
    assert {layer.rpartition(".")[2] for layer in layers} == {"o_proj"}
    with pytest.raises(BadInput, match=r"method 'houlsby' finds no layer that ends .* in mamba.*Choose lora or layers"):
        apply(families.causal("mamba"), Bottleneck(3), "CAUSAL_LM", 0)


def test_bottlenecks_are_loaded_and_sampled_as_trained_and_no_stage_merges_them(files: Path, tmp_path: Path) -> None:
    model: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=True, light=Bottleneck(3), seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.3)
    save_adapter(model, tiny.tokenizer(), tmp_path, str(files / "sft"))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "BOTTLENECK"
    assert not (tmp_path / "model.safetensors").exists()
    said = forward.response_logprobs(model.eval(), sequences(), 1.0)
    assert torch.equal(logprobs_of(tmp_path), said.detach())
    assert not torch.allclose(logprobs_of(files / "sft"), said, atol=1e-2)
    for start in (load_causal_lm, load_scorer):
        with pytest.raises(
            StageError, match=r"bottleneck adapters \(houlsby\), which cannot be merged.*Sample from it"
        ):
            start(tmp_path, tiny.tokenizer(), trained=True, light=Bottleneck(3))
    with pytest.raises(StageError, match=r"bottleneck adapters \(houlsby\), which cannot be merged"):
        load_base(tmp_path, tiny.tokenizer())


def test_ppo_stands_on_one_base_with_a_reward_model_of_bottlenecks(files: Path, tmp_path: Path) -> None:
    """The critic begins as the reward model, with bottlenecks of its own over those. Another method cannot."""
    run_of(files, Stage.REWARD, "houlsby").into(tmp_path / "reward", RecordingReporter())
    run = run_of(files, Stage.PPO, "houlsby")
    run.config["accept_reward_model"] = "a toy, for a test"
    run.inputs["reward_model"] = tmp_path / "reward"
    run.into(tmp_path / "out", RecordingReporter())
    assert (tmp_path / "out" / "adapter_config.json").exists()
    run = run_of(files, Stage.PPO, "ia3")
    run.config["accept_reward_model"] = "a toy, for a test"
    run.inputs["reward_model"] = tmp_path / "reward"
    with pytest.raises(StageError, match=r"bottleneck adapters \(houlsby\), which cannot be merged"):
        run.into(tmp_path / "other", RecordingReporter())


@pytest.mark.parametrize("width", [10**9, 2, "3", None])
def test_bottlenecks_of_another_width_than_their_weights_are_refused(files: Path, tmp_path: Path, width: Any) -> None:
    model: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=True, light=Bottleneck(3))
    save_adapter(model, tiny.tokenizer(), tmp_path, str(files / "sft"))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"width": width}))
    with pytest.raises(StageError, match="adapters of another width than its weights"):
        load_causal_lm(tmp_path, tiny.tokenizer(), trained=False)


# ---------------------------------------------------------------- four bits


def test_a_base_in_four_bits_says_nearly_the_same_in_a_fraction_of_the_bytes(files: Path) -> None:
    whole: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=False)
    packed: Any = load_base(files / "sft", tiny.tokenizer(), light=QLORA.light)
    said, exact = (forward.response_logprobs(model, sequences(), 1.0) for model in (packed, whole))
    torch.testing.assert_close(said, exact, atol=0.1, rtol=0.1)
    assert not torch.equal(said, exact)
    blocks = [sum(w.nbytes for n, w in model.named_parameters() if "_proj.weight" in n) for model in (packed, whole)]
    assert blocks[0] * 8 == blocks[1]
    assert packed.lm_head.weight.dtype == packed.model.norm.weight.dtype == torch.float32


def test_a_reward_model_scores_on_the_base_that_it_was_trained_on(files: Path, tmp_path: Path) -> None:
    """Packed where it was packed: on the policy's own base if that is, else on one of its own."""
    run_of(files, Stage.REWARD, "qlora").into(tmp_path, RecordingReporter())
    bases = [load_base(files / "sft", tiny.tokenizer(), light=config.light) for config in (QLORA, LORA)]
    judges: list[Any] = [
        load_reward_model(tmp_path, tiny.tokenizer(), base=base and (files / "sft", base)) for base in (None, *bases)
    ]
    scores = [forward.score_rows(judge, [p + r for p, r in ROWS], 1, 2) for judge in judges]
    torch.testing.assert_close(scores[1], scores[0])
    torch.testing.assert_close(scores[2], scores[0])
    layers = [next(w for n, w in judge.named_parameters() if "q_proj.base_layer.weight" in n) for judge in judges]
    own = bases[0].get_submodule("model.layers.0.self_attn.q_proj").weight
    assert [layer.data_ptr() == own.data_ptr() for layer in layers] == [False, True, False]


def test_four_bits_are_refused_where_they_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, said in (({"save_adapter": False}, "save_adapter"), ({"shard_weights": True}, "shard_weights")):
        for kind in (SFTConfig, RewardConfig, PPOConfig):
            with pytest.raises(ValueError, match=f"lora.bits is 4.*{said}"):
                kind(lora={"bits": 4}, **wrong)
    refuse_impossible(Stage.SFT, QLORA.model_dump(), 1)
    for family in ("gpt2", "mixtral"):  # matrices that are no linear layers
        with pytest.raises(
            BadInput, match=r"lora.bits packs linear layers, which hold \d+% of .*Leave lora.bits unset"
        ):
            in_four_bits(families.causal(family), torch.device("cpu"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"lora.bits is 4, which needs bitsandbytes.*leave lora.bits unset"):
        refuse_impossible(Stage.SFT, QLORA.model_dump(), 1)


# ---------------------------------------------------------------- soft prompts


@pytest.mark.parametrize("kind", SOFT)
def test_a_soft_prompt_is_loaded_and_sampled_as_it_was_trained(files: Path, tmp_path: Path, kind: Any) -> None:
    """Log-probabilities of what was drawn, with a cache and rows of unequal length, are the model's own."""
    model: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=True, light=SoftPrompt(kind, 3), seed=1)
    save_adapter(model, tiny.tokenizer(), tmp_path, str(files / "sft"))
    again: Any = load_causal_lm(tmp_path, load_tokenizer(tmp_path), trained=False)
    prompts = [p for p, _ in ROWS]
    for prompt in prompts:
        ids = torch.tensor([prompt])
        said = [m.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for m in (model, again)]
        torch.testing.assert_close(said[0], said[1])
    source = torch.Generator().manual_seed(0)
    drawn = generation.generate(again, tiny.tokenizer(), prompts, max_new_tokens=5, generator=source)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt + drawn.ids(row)])
        logs = again(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
        own = logs[-len(drawn.ids(row)) - 1 : -1].gather(1, torch.tensor(drawn.ids(row))[:, None])[:, 0]
        torch.testing.assert_close(drawn.logprobs[row][: len(own)], own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "gemma2", "qwen3", "mistral"])
@pytest.mark.parametrize("kind", SOFT)
def test_families_read_a_soft_prompt_in_training_as_in_decoding(family: str, kind: Any) -> None:
    assert soft_tokens(add_soft_prompt(families.causal(family), SoftPrompt(kind, 3), 0)) == 3


@pytest.mark.parametrize(("family", "kind"), [("mamba", "prefix"), ("mpt", "prompt")])
def test_families_that_take_none_are_named(family: str, kind: Any) -> None:
    with pytest.raises(StageError, match=rf"method '{kind}' does not work with \w+ForCausalLM: .*"):
        add_soft_prompt(families.causal(family), SoftPrompt(kind, 3), 0)


def test_no_next_stage_starts_from_a_soft_prompt(files: Path, tmp_path: Path) -> None:
    model: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=True, light=SoftPrompt("prefix", 3))
    save_adapter(model, tiny.tokenizer(), tmp_path, str(files / "sft"))
    with pytest.raises(StageError, match=r"soft prompt \(prefix_tuning\), which is no part of the weights"):
        load_causal_lm(tmp_path, tiny.tokenizer(), trained=True)
    with pytest.raises(StageError, match=r"soft prompt \(prefix_tuning\), which is no part of the weights"):
        load_scorer(tmp_path, tiny.tokenizer(), trained=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_virtual_tokens": 10**9}, "soft prompt of another size"),
        ({"num_transformer_submodules": 10**9}, "soft prompt of another size"),
        ({"tokenizer_name_or_path": "someone/else"}, "names another tokenizer"),
        ({"peft_type": "ADALORA"}, "adapters of type 'ADALORA'"),
    ],
)
def test_a_soft_prompt_that_is_not_what_it_says_is_refused(
    files: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    model: Any = load_causal_lm(files / "sft", tiny.tokenizer(), trained=True, light=SoftPrompt("prompt", 3))
    save_adapter(model, tiny.tokenizer(), tmp_path, str(files / "sft"))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises((StageError, UnsafeModel), match=told):
        load_causal_lm(tmp_path, tiny.tokenizer(), trained=False) if inspect(tmp_path) else None


# ---------------------------------------------------------------- what is refused, and where


@pytest.mark.parametrize("config", [RewardConfig, PPOConfig, RLOOConfig])
@pytest.mark.parametrize("method", SOFT)
def test_soft_prompts_are_sfts_alone(config: Any, method: str) -> None:
    with pytest.raises(ValueError, match=rf"method '{method}' is for sft alone: what it trains stands before the text"):
        config(method=method)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "full", "lora": {}}, "method 'full' has no use for lora"),
        ({"method": "ia3", "lora": {}}, "method 'ia3' has no use for lora"),
        ({"method": "lora", "lora": None}, "method 'lora' needs lora, which is null"),
        ({"layers": 3}, "layers is read by method 'layers' alone"),
        ({"virtual_tokens": 7}, "virtual_tokens is read by prefix, prompt and p_tuning alone, and method is 'full'"),
        ({"method": "lora", "lora": {"dropout": 1.0}}, "less than 1"),
        ({"method": "qlora"}, "'qlora' is method 'lora', lora.bits = 4"),
        ({"method": "P-tuning-v2"}, "'P-tuning-v2' is method 'prefix'"),
        ({"method": "Bottleneck"}, "'Bottleneck' is method 'houlsby'"),
        ({"bottleneck": 3}, "bottleneck is read by method 'houlsby' alone, and method is 'full'"),
        ({"method": "houlsby", "save_adapter": False}, "method 'houlsby' cannot be merged into the weights"),
        ({"method": "prefix", "gradient_checkpointing": True}, "set gradient_checkpointing to false"),
        ({"method": "prompt", "save_adapter": False}, "cannot be merged into the weights"),
        ({"method": "bitfit", "save_adapter": True}, "save_adapter needs lora, or method 'ia3' or 'houlsby'"),
        ({"method": "prompt", "virtual_tokens": 40, "max_length": 32}, "virtual_tokens .40. must be below max_length"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SFTConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "bitfit"}, "method 'bitfit' trains biases, of which LlamaForCausalLM has none"),
        ({"method": "layers", "layers": 3}, "layers is 3, but LlamaForCausalLM has 2 blocks"),
        ({"method": "layers", "layers": ["query"]}, "LlamaForCausalLM has no part 'query'. Choose of down_proj, "),
    ],
)
def test_what_a_model_does_not_have_is_named(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    tiny.save(tiny.causal(), tmp_path)
    with pytest.raises(StageError, match=told):
        load_causal_lm(tmp_path, tiny.tokenizer(), trained=True, light=SFTConfig(**settings).light)


def test_old_settings_mean_what_they_meant() -> None:
    for kind in (SFTConfig, RewardConfig, PPOConfig, RLOOConfig):
        assert kind().tuned == "full"
        assert kind(lora={"rank": 4}).light == kind(method="lora", lora={"rank": 4}).light
        assert kind.model_validate(kind(method="ia3").model_dump()) == kind(method="ia3")
        assert kind(method="ia3").learning_rate > kind(lora={}).learning_rate > kind().learning_rate
