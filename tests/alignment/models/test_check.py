"""`check` says what a folder is and what its family needs, without its weights in memory."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from alignment import __main__
from alignment.models.adapters import add_adapters, save_adapter
from alignment.models.check import check
from alignment.shared.config import LoRAConfig
from alignment.shared.errors import StageError
from alignment.shared.sentence import joined
from tests.support.alignment import families, tiny

STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ m['role'] + m['content'] + '<end_of_turn>' }}{% endfor %}"
)


def test_a_sound_folder_in_facts(tmp_path: Path) -> None:
    families.save("llama", tmp_path, families.chatty())
    found = check(tmp_path)
    assert found.facts["family"] == "llama"
    assert found.facts["stops"] == ["<end_of_turn>", "<eos>"]
    assert found.facts["context"] == 64
    assert found.facts["number type"] == "float32"
    assert found.facts["weights"] == sum(w.numel() for w in families.causal("llama", families.chatty()).parameters())
    assert found.notes == []


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("bloom", "rollout_engine 'continuous' cannot sample from it"),
        ("mamba", "Its memory is a running state"),
        ("gemma2", "scaled or capped after the output layer"),
        ("qwen2_moe", "Adapters leave its routers, experts or towers alone"),
    ],
)
def test_what_a_family_needs_is_said(family: str, told: str, tmp_path: Path) -> None:
    families.save(family, tmp_path)
    assert any(told in note for note in check(tmp_path).notes)


def test_what_a_folder_holds_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    families.save("llama", tmp_path, families.chatty(template=STRICT))
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "eos_token_id": [2]}))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))
    assert __main__.main(["check", str(tmp_path), "--json"]) == 0
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert "generation_config.json cannot be saved as it is" in notes
    assert "names code of the model's own" in notes
    assert "refuses a system turn: template_refusals" in notes


def test_adapters_are_told_with_what_they_stand_on(tmp_path: Path) -> None:
    base = families.save("llama", tmp_path / "base")
    model = add_adapters(families.causal("llama"), LoRAConfig(rank=2), "CAUSAL_LM", 0)
    save_adapter(model, tiny.tokenizer(), tmp_path / "light", str(base))
    found = check(tmp_path / "light").facts
    assert found["adapters"] == f"lora on {base}"
    assert {name: found[name] for name in ("family", "weights", "number type")} == {
        name: check(base).facts[name] for name in ("family", "weights", "number type")
    }


def test_what_no_stage_can_use_is_refused_with_the_way_on(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(StageError, match=r"it is a t5, an encoder-decoder.*Give a decoder-only language model"):
        check(tmp_path)


def edited(folder: Path, **changes: object) -> Path:
    families.save("llama", folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rope_scaling": {"type": "mystery", "factor": 2.0}}, "'mystery', which the library does not know"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "The config in .* cannot be read"),
        ({"rope_scaling": {"type": "linear"}}, "cannot be read: .Missing required keys"),
        ({"pad_token_id": 50_000}, "Padding_idx must be within"),
        ({"num_attention_heads": 3}, "is not a multiple of the number of attention heads"),
        ({"vocab_size": 20}, r"lm_head.weight in .* has the shape \[26, 32\]; by the config it would be \[20, 32\]"),
        ({"quantization_config": {"quant_method": "gptq"}}, "cannot be trained here .* from which it was quantized"),
    ],
)
def test_a_config_that_cannot_be_is_told_in_one_sentence(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=told):
        check(edited(tmp_path, **changes))


@pytest.mark.parametrize("spelled", ["torch.bfloat16", "bfloat16", "auto", {"text_config": "bfloat16"}], ids=str)
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_number_types_in_any_spelling(name: str, spelled: object, tmp_path: Path) -> None:
    assert check(edited(tmp_path, **{name: spelled})).facts["number type"] == "float32"  # as the weights are stored


@pytest.mark.parametrize(
    ("family", "tensor", "told"),
    [
        ("llama", "input_layernorm.weight", r"lack 1 tensors of the model, for example model.layers.0.input_layernorm"),
        ("bloom", "word_embeddings.weight", r"lack 2 tensors of the model, for example lm_head"),
        ("mixtral", "w1.weight", r"lack 1 tensors of the model, for example .*experts.0.w1.weight"),
    ],
)
def test_weights_that_are_in_no_file_are_told_by_the_headers(
    family: str, tensor: str, told: str, tmp_path: Path
) -> None:
    families.save(family, tmp_path)
    file = tmp_path / "model.safetensors"
    held = load_file(file)
    held.pop(next(name for name in sorted(held) if name.endswith(tensor)))
    save_file(held, file, metadata={"format": "pt"})
    with pytest.raises(StageError, match=told):
        check(tmp_path)


def test_a_check_keeps_the_codes_of_what_it_says_for_who_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = families.save("llama", tmp_path / "sound", families.chatty(template=STRICT))
    assert __main__.main(["check", str(folder), "--said"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [joined(note).code for note in told["notes"]] == ["template-refuses-forms"]
    assert joined(told["facts"]["kind"]).code == "is-a-language-model"
    assert set(told["facts"]["memory"]) == {"sft", "reward", "sample", "ppo"}, "what is no sentence is as it was"
    (tmp_path / "empty").mkdir()
    assert __main__.main(["check", str(tmp_path / "empty"), "--said"]) == 0
    cause, next_step = map(joined, json.loads(capsys.readouterr().out)["refused"])
    assert (cause.values["cause"].code, next_step.code) == ("unsafe-has-no-so-not", "unsafe-give-saved-model-s")
