"""Adapters (LoRA, IA3, bottlenecks): added, saved, read. PEFT is imported by what makes or reads them alone."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from alignment.models.device import is_in_four_bits
from alignment.models.view import FolderPart, bad, opened
from alignment.shared.config import LoRAConfig
from alignment.shared.methods import Bottleneck, Rescaling
from alignment.shared.sentence import Sentence
from alignment.untrusted.adapters import MOST_STACKED, base_of
from alignment.untrusted.families import adaptable, ends_sublayer, rescaled, usually_adapted
from alignment.untrusted.folder import ADAPTER, BOTTLENECK

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

Task: TypeAlias = Literal["CAUSAL_LM", "SEQ_CLS"]

TRAINED = "default"  # the adapter that is trained, PEFT's own name for the only one
AdapterKind: TypeAlias = LoRAConfig | Rescaling | Bottleneck
START = "start"  # adapters that a model came with, frozen under those that are trained


def is_adapted(model: object) -> TypeGuard[PeftModel]:
    """Whether the model carries adapters: whoever made it so has loaded PEFT."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def tuned_layers(model: torch.nn.Module) -> Iterator[Any]:
    """The layers that have adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return (layer for layer in model.modules() if isinstance(layer, BaseTunerLayer))


def has_soft_prompt(model: object) -> TypeGuard[PeftModel]:
    """Whether something learnt stands before every text, which is no part of the weights."""
    return is_adapted(model) and bool(model.active_peft_config.is_prompt_learning)


def can_be_merged(model: PeftModel) -> bool:
    """Whether the weights can take in what was learnt."""
    return not has_soft_prompt(model) and str(model.active_peft_config.peft_type.value) != BOTTLENECK


def add_adapters(model: PreTrainedModel | PeftModel, light: AdapterKind, task: Task, seed: int) -> PeftModel:
    """Adapters on the linear layers that the method means; a score head has none: PEFT trains and keeps it whole.

    A model that has adapters named START keeps them, frozen: what is trained is added to what it says by now.
    Raises BadInput for names that the model does not have.
    """
    from peft import get_peft_model

    settings = _settings(model, light, task)
    torch.manual_seed(seed)  # adapters begin at random, before any trainer seeds
    with _told_of_four_bits(model):
        adapted: PeftModel = _above(model, settings) if is_adapted(model) else get_peft_model(model, settings)
    for weight in adapted.parameters():
        if weight.requires_grad:  # PEFT leaves the whole score head in the base's number type
            weight.data = weight.data.float()
    return adapted


@contextmanager
def _told_of_four_bits(model: Any) -> Iterator[None]:
    """PEFT asks the model itself; a trainer that did so would round the adapters."""
    base = model.get_base_model() if is_adapted(model) else model
    base.is_loaded_in_4bit = is_in_four_bits(base)
    try:
        yield
    finally:
        del base.is_loaded_in_4bit


def can_stand_above(model: PeftModel, light: AdapterKind) -> bool:
    """Whether such adapters can be put over those that the model has: one kind does not go over the other."""
    kinds: dict[type[AdapterKind], str] = {LoRAConfig: "LORA", Rescaling: "IA3", Bottleneck: BOTTLENECK}
    return bool(model.active_peft_config.peft_type == kinds[type(light)])


def _settings(model: PreTrainedModel | PeftModel, light: AdapterKind, task: Task) -> PeftConfig:
    match light:
        case LoRAConfig():
            return _lora(model, light, task)
        case Rescaling():
            return _ia3(model, task)
    return _bottleneck(model, light, task)


def _lora(model: PreTrainedModel | PeftModel, lora: LoRAConfig, task: Task) -> PeftConfig:
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float works: it only scales
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora),
        task_type=task,
        use_rslora=lora.rank_stabilised,
        use_dora=lora.dora,
    )


def _ia3(model: PreTrainedModel | PeftModel, task: Task) -> PeftConfig:
    from peft import IA3Config

    family = _family(model)
    found = {name: rescaled(name) for name in _usual(model) if rescaled(name)}
    if not found:
        raise bad(
            Sentence(
                "ia3-finds-nothing", "method 'ia3' finds no keys, values or feed-forward in %(family)s.", family=family
            ),
            Sentence("choose-lora-or-layers", "Choose lora or layers."),
        )
    inputs = [name for name, where in found.items() if where == "input"]
    turned = isinstance(model.get_submodule(next(iter(found))), Conv1D)
    return IA3Config(target_modules=list(found), feedforward_modules=inputs, task_type=task, fan_in_fan_out=turned)


def _bottleneck(model: PreTrainedModel | PeftModel, light: Bottleneck, task: Task) -> PeftConfig:
    from alignment.models.tuners.bottleneck import BottleneckConfig

    if not (found := [name for name in _usual(model) if ends_sublayer(name)]):
        english = "method 'houlsby' finds no layer that ends attention or feed-forward in %(family)s."
        cause = Sentence("houlsby-finds-nothing", english, family=_family(model))
        raise bad(cause, Sentence("choose-lora-or-layers", "Choose lora or layers."))
    return BottleneckConfig(width=light.width, target_modules=found, task_type=task)


def _usual(model: PreTrainedModel | PeftModel) -> list[str]:
    """The full names of the layers that adapters usually sit on."""
    experts = any(name.endswith("experts") for name, _ in model.named_modules())
    return [name for name in _linear_layers(model) if usually_adapted(_family(model), name, experts)]


def _family(model: PreTrainedModel | PeftModel) -> str:
    return str(model.config.get_text_config().model_type)


def _linear_layers(model: PreTrainedModel | PeftModel) -> list[str]:
    """The full names of those of the trunk."""
    base: Any = model.get_base_model() if is_adapted(model) else model
    head = base.get_output_embeddings()
    return [
        name.removesuffix(".base_layer")
        for name, module in base.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head and not _is_beside(name)
    ]


def _above(model: PeftModel, settings: PeftConfig) -> PeftModel:
    """`model` with new adapters over its own, and a head to train that begins as the one that it has."""
    model.add_adapter(TRAINED, settings)
    model.set_adapter(TRAINED)
    for layer in tuned_layers(model):
        layer.set_adapter([START, TRAINED])
    model.set_requires_grad(START, requires_grad=False)
    base: Any = model.get_base_model()
    heads = base.score.modules_to_save
    heads[TRAINED].load_state_dict(heads[START].state_dict())
    return model


def _targets(model: PreTrainedModel | PeftModel, lora: LoRAConfig) -> list[str]:
    """The full names of the layers that get adapters."""
    family, layers = _family(model), _linear_layers(model)
    if isinstance(lora.targets, tuple):
        chosen = [name for name in layers if name.endswith(tuple(f".{target}" for target in lora.targets))]
        asked = [target for target in lora.targets if not any(name.endswith(f".{target}") for name in layers)]
        bare = [name for name in chosen if not adaptable(family, name)]
        if asked or bare:
            known = sorted({name.rpartition(".")[2] for name in layers if adaptable(family, name)})
            wrong = asked[0] if asked else bare[0].rpartition(".")[2]
            raise bad(
                Sentence(
                    "no-such-lora-target",
                    "lora.targets: %(family)s has no layer %(wrong)s to adapt.",
                    family=family,
                    wrong=f"{wrong!r}",
                ),
                Sentence("choose-of-known", "Choose of %(known)s.", known=", ".join(known)),
            )
        return chosen
    if lora.targets == "all_linear":
        return [name for name in layers if adaptable(family, name)]
    return _usual(model)


def _is_beside(name: str) -> bool:
    """Whether a layer is a score head, which is trained whole, or part of an adapter."""
    return name.partition(".")[0] == "score" or ".lora_" in name or ".bottleneck_" in name


def read_adapters(model: PreTrainedModel, folder: Path, name: str = TRAINED) -> PeftModel:
    """`model` with the adapters in `folder`, frozen."""
    from peft import PeftModel

    importlib.import_module("alignment.models.tuners.bottleneck")  # from then on PEFT can read them
    with opened(folder, FolderPart.ADAPTERS) as seen:
        return PeftModel.from_pretrained(model, str(seen), adapter_name=name, is_trainable=False)


def adapter_base(folder: Path) -> Path:
    """The folder of the model that the adapters in `folder` were trained on. BadInput where it is gone."""
    with opened(folder, FolderPart.CONFIG) as seen:
        base = base_of(folder, json.loads((seen / ADAPTER).read_text())["base_model_name_or_path"])
    if not base.is_dir():
        raise bad(
            Sentence(
                "adapter-base-gone",
                "The adapters in %(folder)s belong to %(base)s, which is not there.",
                folder=folder,
                base=base,
            ),
            Sentence("put-base-back", "Put their base model back."),
        )
    return base


def whole_folder(folder: Path, most: int = MOST_STACKED) -> Path:
    """The whole model under the adapters in `folder`, which may have been trained on others; or the folder itself."""
    if not (folder / ADAPTER).exists():
        return folder
    if not most:
        raise bad(
            Sentence(
                "adapters-stacked",
                "The adapters in %(folder)s stand on more than %(most_stacked)s others.",
                folder=folder,
                most_stacked=MOST_STACKED,
            ),
            Sentence("merge-adapters", "Merge them first."),
        )
    return whole_folder(adapter_base(folder), most - 1)


def save_adapter(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, base: str) -> None:
    """Write adapters and score head alone, with config and tokenizer; `base`: the folder they belong to.

    A relative `base` is seen from `folder`, so that an artifact that holds both can be moved.
    """
    for settings in model.peft_config.values():
        settings.base_model_name_or_path = base
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink()  # PEFT's card names the folder from which the base was read, which is passing
    model.config.architectures = [type(model.get_base_model()).__name__]
    if is_in_four_bits(model):
        model.config.trained_in_bits = 4
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
