"""Sound models of every family that the library knows pass the rules, and come out of the view as they went in."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from alignment.models import folder as model_folders
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.shared.errors import StageError
from alignment.untrusted import folder as safe_folder
from alignment.untrusted.files import UnsafeModel
from alignment.untrusted.known_families import DECODERS, ENCODER_DECODERS, ENCODERS
from tests.support.alignment import tiny

SOUND = ("musicgen", "musicgen_melody")  # write sound, and have two configs for text
# Named among the library's causal models, but nothing that goes on with a text: pictures, sound, drafts for another.
NO_TEXT = ("git", "got_ocr2", "moshi", "gemma4_assistant", "gemma4_unified_assistant")
CAUSAL = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name in DECODERS]
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES = {
    **{name: {} for name in ("llama", "mistral", "qwen2", "phi", "phi3", "stablelm", "olmo2", "granite", "gpt_neox")},
    **{name: {"head_dim": 16} for name in ("qwen3", "gemma", "gemma2", "gemma3_text", "glm4", "smollm3")},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "falcon": {"new_decoder_architecture": False},
    "bloom": {"n_layer": 2, "n_head": 2},
    "mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 16},
}
OWN_NAMES = {"gpt2", "gpt_bigcode"}  # which call their sizes otherwise


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", CAUSAL)
def test_the_config_of_every_family_passes_unchanged(family: str, tmp_path: Path) -> None:
    config: PretrainedConfig = CONFIG_MAPPING[family]()
    text = config.to_json_string(use_diff=False)
    (tmp_path / "config.json").write_text(text)
    safe_folder.inspect(tmp_path)
    seen = model_folders.load_config(tmp_path, dropout=True).to_dict()
    plain = AutoConfig.from_pretrained(tmp_path).to_dict()
    assert {key for key in plain if seen.get(key) != plain[key]} <= {"_name_or_path"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", SOUND)
def test_a_model_that_writes_sound_is_refused(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG_MAPPING[family]().to_json_string(use_diff=False))
    with pytest.raises(StageError, match=f"it is a {family}, an encoder-decoder"):
        model_folders.load_config(tmp_path, dropout=True)


def test_our_list_of_families_is_the_librarys() -> None:
    """Which ones there are is written down, because the service never loads the library."""
    named = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert named - DECODERS - ENCODERS - ENCODER_DECODERS == set(NO_TEXT)
    assert named >= DECODERS
    assert set(CONFIG_MAPPING_NAMES) >= ENCODERS | ENCODER_DECODERS
    assert not (DECODERS & ENCODERS)
    assert not (DECODERS & ENCODER_DECODERS)
    assert not (ENCODERS & ENCODER_DECODERS)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "t5"}, "it is a t5, an encoder-decoder: it reads one text and writes another. Give a decoder"),
        ({"model_type": "bart"}, "it is a bart, an encoder-decoder"),
        ({"model_type": "bert"}, "it is a bert, an encoder: it sees a text from both sides and writes none."),
        ({"model_type": "roberta"}, "it is a roberta, an encoder"),
        ({"model_type": "electra"}, "it is a electra, an encoder"),
        ({"model_type": "baichuan", "auto_map": {"AutoConfig": "c.C"}}, "only by code of its own .* Llama"),
        ({"model_type": "chatglm", "auto_map": {"AutoConfig": "c.C"}}, "only by code of its own .* GLM-4"),
        ({"model_type": "moss"}, "never run here. Use a model of the family CodeGen"),
        ({"model_type": "qwen"}, "never run here. Use a model of the family Qwen2"),
        ({"model_type": "internlm2"}, "never run here. Use a model of the family Llama"),
        ({"model_type": "lama"}, "knows no language model of the family lama. Did you mean llama?"),
        (
            {"model_type": "llava", "vision_config": {}},
            "it is a llava, which reads pictures or sound beside text. Give",
        ),
        ({"model_type": "clip"}, "knows no language model of the family clip."),
    ],
)
def test_what_is_no_decoder_is_refused_in_one_sentence(config: dict[str, object], told: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsafeModel, match=told):
        safe_folder.inspect(tmp_path)


def test_code_of_its_own_beside_a_family_that_the_library_knows_is_not_run(tmp_path: Path) -> None:
    """As Phi-3 and Falcon folders have it."""
    tiny.save(tiny.causal(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
    (tmp_path / "evil.py").write_text("raise SystemExit")
    tokenizer = load_tokenizer(tmp_path)
    model = load_causal_lm(tmp_path, tokenizer, trained=False, device=torch.device("cpu"))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert safe_folder.inspect(tmp_path).ignored == (safe_folder.OWN_CODE,)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_of_the_family_passes_and_loads_unchanged(family: str, tmp_path: Path) -> None:
    words = tiny.tokenizer()
    sizes = FAMILIES[family] if family in OWN_NAMES else SMALL | FAMILIES[family]
    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](vocab_size=len(words), **ids, **sizes)).eval()
    tiny.save(model, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.get_vocab() == words.get_vocab()
    loaded = load_causal_lm(tmp_path, tokenizer, trained=False, device=torch.device("cpu"))
    input_ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(loaded(input_ids).logits, model(input_ids).logits, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_a_model_in_parts_passes_and_loads(tmp_path: Path) -> None:
    model = tiny.causal()
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    tiny.tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    loaded = load_causal_lm(tmp_path, load_tokenizer(tmp_path), trained=False, device=torch.device("cpu"))
    for (name, weight), (_, again) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(weight, again), name


def test_the_settings_of_older_releases_still_count(tmp_path: Path) -> None:
    """Names that hub models carry and today's classes do not declare."""
    old = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "torch_dtype": "bfloat16"}
    values = tiny.config().to_dict() | old | {"_name_or_path": "org/name", "use_cache": True, "pretraining_tp": 1}
    values.pop("rope_parameters")
    (tmp_path / "config.json").write_text(json.dumps(values, default=str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = model_folders.load_config(tmp_path, dropout=True)
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    assert config.dtype == torch.bfloat16
