"""Bottleneck adapters (Houlsby et al. 2019): a narrow net behind each of a block's two sublayers, before the residual.

PEFT has no tuner for them, so this is one in its manner. Where the linear layer that ends a sublayer gave h, it
gives h + W_up gelu(W_down h + b_down) + b_up. W_up and b_up begin at 0: the model says what it said. The net is not
linear, so it is never merged into the weights.

It is in PEFT's tables from the import of this module on. Importing PEFT takes seconds: only who needs it does this.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, cast

from peft import PeftConfig, mapping
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn


class TunerType(str, enum.Enum):  # noqa: UP042  # PEFT's own types print as members do
    """What stands in a saved folder as `peft_type`."""

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    width: int = 64
    target_modules: list[str] | None = None
    modules_to_save: list[str] | None = None  # a score head: PEFT fills it in

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = TunerType.BOTTLENECK


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear layer with its narrow nets behind it, one for each adapter; those that are active follow one another."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down, self.bottleneck_up = nn.ModuleDict(), nn.ModuleDict()
        self._active_adapter = adapter_name
        self.merged_adapters = []
        self.add(adapter_name, config)

    def add(self, adapter_name: str, config: BottleneckConfig) -> None:
        base: Any = self.base_layer
        size = base.out_features if isinstance(base, nn.Linear) else base.weight.shape[1]  # else GPT-2's: `(I, O)`
        down, up = nn.Linear(size, config.width), nn.Linear(config.width, size)
        for weight in (down.bias, up.weight, up.bias):
            nn.init.zeros_(weight)
        self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name] = down, up
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        said: Tensor = self.base_layer(x, *args, **kwargs)
        for name in () if self.disable_adapters else self.active_adapters:
            if name in self.bottleneck_down:
                down, up = cast(nn.Linear, self.bottleneck_down[name]), self.bottleneck_up[name]
                inner = nn.functional.gelu(down(said.to(down.weight.dtype)))
                said = said + up(inner).to(said.dtype)
        return said


class BottleneckModel(BaseTuner):
    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  # PEFT's name; ours are named in full

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        config = cast(BottleneckConfig, peft_config)
        if isinstance(target, BottleneckLayer):
            target.add(adapter_name, config)
            return
        layer = BottleneckLayer(target, adapter_name, config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


def _register() -> None:
    """Put the tuner into PEFT's tables, by which folders are read.

    `peft.utils.register_peft_method` does no more than this, but takes only members of PEFT's closed enum of types. A
    member of ours has the hash of its name, as PEFT's have, so the tables find both it and the word in a folder.
    """
    kind: Any = TunerType.BOTTLENECK
    if kind in mapping.PEFT_TYPE_TO_CONFIG_MAPPING:
        raise RuntimeError("PEFT has a tuner of this name by now: folders of ours would be read by it.")
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING[kind] = BottleneckConfig
    mapping.PEFT_TYPE_TO_TUNER_MAPPING[kind] = BottleneckModel
    mapping.PEFT_TYPE_TO_PREFIX_MAPPING[kind] = BottleneckModel.prefix


_register()
