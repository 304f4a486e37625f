"""Tiny models of many families, made from the families' own configs, and tokenizers of several kinds."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.support.alignment import tiny

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# Dropout off: SFT keeps a family's own, and its losses could not be compared.
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **NO_DROPOUT}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 64,
        "dropout": 0.0,
        "word_embed_proj_dim": 32,
        **{name: SMALL[name] for name in ("num_hidden_layers", "num_attention_heads", "max_position_embeddings")},
    },
    "llama": SMALL,
    "gpt2": GPT,
    "gptj": {**GPT, "rotary_dim": 4, "n_inner": 64},
    "gpt_neox": {name: size for name, size in SMALL.items() if name != "num_key_value_heads"},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "codegen": {**GPT, "rotary_dim": 4, "n_inner": 64, "n_ctx": 64, "n_head": 4},
    "falcon": {**SMALL, "new_decoder_architecture": False},
    "mistral": {**SMALL, "sliding_window": 8},
    "mixtral": {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**SMALL, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**SMALL, **EXPERTS, "num_experts": 4, "head_dim": 16},
    "qwen2": SMALL,
    "qwen3": {**SMALL, "head_dim": 16},
    "gemma2": {**SMALL, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**SMALL, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": SMALL,
    "glm4": {**SMALL, "head_dim": 8},
    "stablelm": SMALL,
    "olmo2": SMALL,
    "olmoe": {**SMALL, "num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16},
    "cohere": SMALL,
    "granite": {**SMALL, "logits_scaling": 8.0},
    "deepseek_v3": {
        **SMALL,
        **EXPERTS,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
    "falcon_h1": {
        **SMALL,
        "head_dim": 16,
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_d_ssm": 64,
    },
    "minimax": {**SMALL, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4},
}
IDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2}


def causal(family: str, tokenizer: PreTrainedTokenizerFast | None = None, **changes: Any) -> PreTrainedModel:
    """A language model of the family, its weights large enough that its replies differ."""
    words = tokenizer or tiny.tokenizer()
    torch.manual_seed(0)
    kind = CONFIG_MAPPING[family]
    model = AutoModelForCausalLM.from_config(kind(**{"vocab_size": len(words), **IDS, **FAMILIES[family], **changes}))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "conv" not in name:
                weight.mul_(4)
    return model.eval()  # type: ignore[no-any-return]


def save(family: str, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, **changes: Any) -> Path:
    words = tokenizer or tiny.tokenizer()
    causal(family, words, **changes).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def chatty(mark: str = "<end_of_turn>", template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer whose chat template ends a turn with another token than EOS."""
    words = tiny.tokenizer()
    words.add_tokens([mark, "<stop>"], special_tokens=True)
    words.chat_template = template or (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '" + mark + "\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    return words
