"""LoRA adapters: added, saved, read. PEFT is imported by what makes or reads adapters, by nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from alignment.models.view import FolderPart, bad, opened
from alignment.shared.config import LoRAConfig
from alignment.untrusted.families import adaptable, usually_adapted

if TYPE_CHECKING:
    from peft import PeftModel

Task: TypeAlias = Literal["CAUSAL_LM", "SEQ_CLS"]


def is_adapted(model: object) -> TypeGuard[PeftModel]:
    """Whether the model carries adapters: whoever made it so has loaded PEFT."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def add_adapters(model: PreTrainedModel, lora: LoRAConfig, task: Task, seed: int) -> PeftModel:
    """Adapters on the linear layers that `lora.targets` means; a score head has none: PEFT trains and keeps it whole.

    Raises StageError(BAD_INPUT) for names that the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float works: it only scales
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora),
        task_type=task,
    )
    torch.manual_seed(seed)  # adapters begin at random, before any trainer seeds
    adapted: PeftModel = get_peft_model(model, settings)
    for weight in adapted.parameters():
        if weight.requires_grad:  # PEFT leaves the whole score head in the base's number type
            weight.data = weight.data.float()
    return adapted


def _targets(model: PreTrainedModel, lora: LoRAConfig) -> list[str]:
    """The full names of the layers that get adapters."""
    heads = (model.get_output_embeddings(), getattr(model, "score", None))  # type: ignore[no-untyped-call]
    family = model.config.get_text_config().model_type
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module not in heads
    ]
    if isinstance(lora.targets, tuple):
        chosen = [name for name in layers if name.endswith(tuple(f".{target}" for target in lora.targets))]
        asked = [target for target in lora.targets if not any(name.endswith(f".{target}") for name in layers)]
        bare = [name for name in chosen if not adaptable(family, name)]
        if asked or bare:
            known = sorted({name.rpartition(".")[2] for name in layers if adaptable(family, name)})
            wrong = asked[0] if asked else bare[0].rpartition(".")[2]
            raise bad(f"lora.targets: {family} has no layer {wrong!r} to adapt.", f"Choose of {', '.join(known)}.")
        return chosen
    if lora.targets == "all_linear":
        return [name for name in layers if adaptable(family, name)]
    experts = any(name.endswith("experts") for name, _ in model.named_modules())
    return [name for name in layers if usually_adapted(family, name, experts)]


def read_adapters(model: PreTrainedModel, folder: Path) -> PeftModel:
    """`model` with the adapters in `folder`, frozen."""
    from peft import PeftModel

    with opened(folder, FolderPart.ADAPTERS) as seen:
        return PeftModel.from_pretrained(model, str(seen), is_trainable=False)


def save_adapter(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: str) -> None:
    """Write adapters and score head alone, with config and tokenizer; `base`: the folder they belong to.

    A relative `base` is seen from `folder`, so that an artifact that holds both can be moved.
    """
    for settings in model.peft_config.values():
        settings.base_model_name_or_path = base
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink()  # PEFT's card names the folder from which the base was read, which is passing
    model.config.architectures = [type(model.get_base_model()).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
