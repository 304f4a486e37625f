"""What differs between families of base models, as data: the rest of the code asks here, and has no branches.

Keys are `model_type` in config.json. Standard library only: the service reads this too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from alignment.shared.sentence import Sentence
from alignment.untrusted.known_families import DECODERS, ENCODER_DECODERS, ENCODERS

# Parts of a model that adapters usually leave alone: what chooses among experts, the experts themselves (of which each
# sees few tokens), and towers that read something else than text.
_LEFT_ALONE = re.compile(
    r"(^|\.)(router\w*|\w*_router|gate|\w*experts?|shared_expert_gate|vision\w*|visual\w*|audio\w*|image_\w+|img_\w+"
    r"|multi_?modal\w*|embed_tokens_extend|patch_embedding\w*|altup\w*)(\.|$)"
)
_FEED_FORWARD = re.compile(r"\.(gate_proj|up_proj|down_proj|gate_up_proj|w1|w2|w3)$")
# Of which IA3 rescales what comes out (with the queries, where one layer makes them all), and what goes in.
_KEYS_AND_VALUES = re.compile(r"\.(k_proj|v_proj|key|value|query_key_value|qkv_proj|Wqkv|c_attn|kv_b_proj|in_proj)$")
_FEED_FORWARD_END = re.compile(r"\.(down_proj|fc2|fc_out|dense_4h_to_h|w2|mlp\.c_proj)$")
_ATTENTION_END = re.compile(r"\.(o_proj|out_proj|wo|(self_)?(attn|attention)\.(dense|c_proj))$")
# Layers whose weights the family's kernels read directly, past an adapter on them (some PEFT refuses, too).
_STATE_SPACES = (
    *("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"),
    *("bamba", "granitemoehybrid", "jamba", "zamba", "zamba2"),
)
_NOT_ADAPTABLE = dict.fromkeys(_STATE_SPACES, ("out_proj", "conv1d", "dt_proj"))


# How far positions reach, by the names that configs have for it.
POSITIONS = ("max_position_embeddings", "max_seq_len")
# What follows the output layer: a factor on the logits, then a soft cap.
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)
_MULTIPLIED = ("hyperclovax",)  # whose `logits_scaling` multiplies


_FAMILY = re.compile(r"[A-Za-z0-9_.-]{1,99}", re.ASCII)
# Families that run only by code of their own, and the nearest one that the library knows.
_OWN_CODE = {
    "baichuan": "Llama",
    "qwen": "Qwen2",
    "chatglm": "GLM-4",
    "moss": "CodeGen",
    "internlm": "Llama",
    "internlm2": "Llama",
    "xverse": "Llama",
    "skywork": "Llama",
    "aquila": "Llama",
    "orion": "Llama",
    "codeshell": "GPT-BigCode",
    "telechat": "Llama",
    "minicpm": "MiniCPM3",
    "deepseek": "DeepSeek-V2",
    "openelm": "Llama",
    "btlm": "GPT-2",
    "refinedweb": "Falcon",
    "refinedwebmodel": "Falcon",
    "stablelm_epoch": "StableLM",
    "phi-msft": "Phi",
}

_TOWERS = ("vision_config", "audio_config", "visual")  # parts of a config


class FamilyRefusal(NamedTuple):
    """What a model is, and what would do."""

    cause: str
    next_step: str


_DECODER = Sentence("give-a-decoder", "Give a decoder-only language model, such as Llama, Qwen or Mistral.")


def refusal(config: Mapping[str, Any]) -> FamilyRefusal | None:
    """Why a model with this config.json cannot be trained here; None: it is a decoder that the library knows."""
    family = config.get("model_type")
    if not isinstance(family, str) or not _FAMILY.fullmatch(family):  # safe_json says what is wrong with it
        return None
    if config.get("is_encoder_decoder") is True or family in ENCODER_DECODERS:
        english = "it is a %(family)s, an encoder-decoder: it reads one text and writes another."
        return FamilyRefusal(Sentence("unsafe-encoder-decoder-reads-one", english, family=family), _DECODER)
    if family in ENCODERS and config.get("is_decoder") is not True:
        english = "it is a %(family)s, an encoder: it sees a text from both sides and writes none."
        return FamilyRefusal(Sentence("unsafe-encoder-sees-text-from", english, family=family), _DECODER)
    if family in DECODERS or family in ENCODERS:
        return None
    if "auto_map" in config or family.lower() in _OWN_CODE:
        return _only_by_its_own_code(family)
    if any(isinstance(config.get(tower), dict) for tower in _TOWERS):
        english = "it is a %(family)s, which reads pictures or sound beside text."
        return FamilyRefusal(Sentence("unsafe-reads-pictures-sound-beside", english, family=family), _DECODER)
    return _unknown(family)


def _only_by_its_own_code(family: str) -> FamilyRefusal:
    near = _OWN_CODE.get(family.lower(), "Llama, Qwen or Mistral")
    english = "the family %(family)s runs only by code of its own (auto_map), which is never run here."
    then = "Use a model of the family %(near)s, which is nearest, or convert it to that form."
    return FamilyRefusal(
        Sentence("unsafe-family-runs-only-code", english, family=family),
        Sentence("unsafe-use-model-family-nearest", then, near=near),
    )


def _unknown(family: str) -> FamilyRefusal:
    known = difflib.get_close_matches(family, DECODERS, n=1)
    hint = Sentence("family-near", "Did you mean %(known)s?", known=known[0]) if known else _DECODER
    english = "the model library knows no language model of the family %(family)s."
    return FamilyRefusal(Sentence("unsafe-model-library-knows-no", english, family=family), hint)


def ignores_own_code(config: Mapping[str, Any]) -> bool:
    """Whether config.json names code for a family that the library knows by itself, as Phi-3 and Falcon folders do."""
    return bool(config.get("auto_map")) and config.get("model_type") in DECODERS


class AfterHead(NamedTuple):
    """What a model does to its logits: times `factor`, then within plus or minus `cap` by tanh."""

    factor: float
    cap: float | None


def after_head(config: Any) -> AfterHead:
    """By the settings of the text model."""
    factor = _first(config, _FACTORS) or 1.0
    divisor = _first(config, _DIVISORS) or 1.0
    factor = factor * divisor if config.model_type in _MULTIPLIED else factor / divisor
    return AfterHead(factor, _first(config, _CAPS))


def positions(config: Any) -> int | None:
    """How many tokens the text model reads with numbers that do not depend on its neighbours; None: no bound.

    Long-rope models (Phi-3) change the frequencies of a whole batch once one row of it passes the context that they
    were first trained on, so that is their bound.
    """
    limit = _first(config, POSITIONS)
    found = [int(value) for value in (limit, _first_context(config)) if value and value > 0]
    return min(found) if found else None


def _first_context(config: Any) -> float | None:
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if not any(kind.get("rope_type") == "longrope" for kind in kinds):
        return None
    told = [kind.get("original_max_position_embeddings") for kind in kinds]
    return next((value for value in told if value), None) or _first(config, ("original_max_position_embeddings",))


def _first(config: Any, names: tuple[str, ...]) -> float | None:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int | float) and not isinstance(value, bool)), None)


def adaptable(family: str, layer: str) -> bool:
    """Whether a linear layer of that full name can carry an adapter at all."""
    return layer.rpartition(".")[2] not in _NOT_ADAPTABLE.get(family, ())


def rescaled(layer: str) -> Literal["output", "input"] | None:
    """Where IA3 puts its factors on a linear layer of that full name; None: it has none there."""
    if _KEYS_AND_VALUES.search(layer):
        return "output"
    return "input" if _FEED_FORWARD_END.search(layer) else None


def ends_sublayer(layer: str) -> bool:
    """Whether a linear layer of that full name gives what attention or feed-forward adds to the stream."""
    return bool(_ATTENTION_END.search(layer) or _FEED_FORWARD_END.search(layer))


def usually_adapted(family: str, layer: str, experts: bool) -> bool:
    """Whether adapters usually sit on it: on all projections of the text model's own blocks; beside experts, on
    those of attention alone (PEFT takes the names of a dense block's layers for the experts')."""
    chosen = adaptable(family, layer) and not _LEFT_ALONE.search(layer)
    return chosen and not (experts and _FEED_FORWARD.search(layer))
