"""A base in 4 bits: what it needs, what the library is told, and what is refused before a job exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from alignment.models.load import load_base, load_causal_lm, load_scorer, save_adapter
from alignment.models.methods.four_bits import learn_in_float32
from alignment.shared import gpus
from alignment.shared.config import LoRAConfig, PPOConfig, RewardConfig, SFTConfig, Stage
from alignment.shared.errors import BadInput, StageError
from alignment.shared.gpus import refuse_impossible
from alignment.shared.memory import ModelShape, OnDevice, memory_of
from tests.support.alignment import tiny
from tests.support.alignment.pretence import pretended_gpu

PACKED = {"lora": {"rank": 4, "four_bits": True}}
LIGHT = LoRAConfig(rank=4, four_bits=True)


def installed(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(gpus, "has_bitsandbytes", lambda: there)


@pytest.mark.parametrize("config", [SFTConfig, RewardConfig, PPOConfig])
def test_the_door_names_what_is_missing(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = {SFTConfig: Stage.SFT, RewardConfig: Stage.REWARD, PPOConfig: Stage.PPO}[config]
    settings = config(**PACKED).model_dump()
    installed(monkeypatch, False)
    with pytest.raises(BadInput, match=r"lora.four_bits is true, which takes a GPU, and gpus is 0"):
        refuse_impossible(stage, settings, 0)
    with pytest.raises(BadInput, match=r"bitsandbytes.* is not installed here. Install rankloop.four-bits."):
        refuse_impossible(stage, settings, 1)
    installed(monkeypatch, True)
    refuse_impossible(stage, settings, 1)
    refuse_impossible(stage, settings, 0.5)


@pytest.mark.parametrize("config", [SFTConfig, RewardConfig, PPOConfig])
def test_adapters_are_what_is_saved(config: Any) -> None:
    assert config(**PACKED).save_adapter
    assert config(method="lora", **PACKED).save_adapter
    with pytest.raises(ValueError, match=r"lora.four_bits leaves no whole weights to merge into"):
        config(**PACKED, save_adapter=False)
    with pytest.raises(ValueError, match=r"lora.four_bits packs weights, which cannot be shared out"):
        config(**PACKED, shard_weights=True)


def test_a_cpu_holds_none(tmp_path: Path) -> None:
    tiny.save(tiny.causal(), tmp_path)
    with pytest.raises(StageError, match="which takes a GPU, and gpus is 0 or none is here"):
        load_causal_lm(tmp_path, tiny.tokenizer(), trained=True, light=LIGHT)


def test_the_library_is_told_and_what_it_loaded_is_not_saved_as_4_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader is a stand-in that takes the library's words and loads whole weights."""
    tiny.save(tiny.causal(), tmp_path / "base")
    installed(monkeypatch, True)
    told = [watched(monkeypatch, auto) for auto in (AutoModelForCausalLM, AutoModelForSequenceClassification)]
    tokenizer = tiny.tokenizer()
    with pretended_gpu():
        model: Any = load_causal_lm(tmp_path / "base", tokenizer, trained=True, light=LIGHT)
        scorer = load_scorer(tmp_path / "base", tokenizer, trained=True, light=LIGHT)
        load_base(tmp_path / "base", tokenizer, None, LIGHT)
    assert [len(calls) for calls in told] == [2, 1]
    for call in told[0] + told[1]:
        kind = call["quantization_config"]
        assert (kind.load_in_4bit, kind.bnb_4bit_quant_type, kind.bnb_4bit_use_double_quant) == (True, "nf4", True)
        assert kind.bnb_4bit_compute_dtype == torch.bfloat16
        assert call["device_map"] == {"": torch.device("cuda")}
    save_adapter(model, tokenizer, tmp_path / "out", str(tmp_path / "base"))
    assert "quantization_config" not in (tmp_path / "out" / "config.json").read_text()
    assert load_causal_lm(tmp_path / "out", tokenizer, trained=False) is not None
    with pretended_gpu(), pytest.raises(StageError, match=r"holds adapters, and lora.four_bits takes a whole model"):
        load_causal_lm(tmp_path / "out", tokenizer, trained=True, light=LIGHT)
    assert {weight.dtype for weight in scorer.parameters() if weight.requires_grad} == {torch.float32}


def watched(monkeypatch: pytest.MonkeyPatch, auto: Any) -> list[dict[str, Any]]:
    """What the loader is told; its model says in its config that it is in 4 bits, as the library's does."""
    calls: list[dict[str, Any]] = []
    own = auto.from_pretrained

    def from_pretrained(*args: Any, **kwargs: Any) -> Any:
        calls.append({name: kwargs.pop(name) for name in ("quantization_config", "device_map") if name in kwargs})
        model, found = own(*args, **kwargs)
        if calls[-1]:
            model.config.quantization_config = calls[-1]["quantization_config"]
        return model, found

    monkeypatch.setattr(auto, "from_pretrained", from_pretrained)
    return calls


def test_what_a_trainer_made_bfloat16_learns_in_float32() -> None:
    model = tiny.causal()
    model.lm_head.weight.data = model.lm_head.weight.data.bfloat16()
    model.model.embed_tokens.weight.requires_grad_(False).data = model.model.embed_tokens.weight.data.bfloat16()
    learn_in_float32(model)
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16


def test_blocks_take_a_quarter_and_the_rest_is_as_it_was() -> None:
    shape = ModelShape(weights=7_000, linear=100, width=8, layers=10, vocabulary=100, block=600)
    own, packed = (SFTConfig(lora={"rank": 4, "four_bits": on}) for on in (False, True))
    saved = [memory_of(config, {"model": shape}, OnDevice(1)).weights for config in (own, packed)]
    assert saved[0] - saved[1] == pytest.approx(6_000 * (2 - 4.127 / 8), abs=1)
