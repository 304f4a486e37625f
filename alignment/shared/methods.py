"""What is trained of a model: all of it, or little. The names of the methods, and what each is to its stage.

Adapters stand beside frozen weights and can be switched off, and merged where they are linear; parts are some of the
model's own weights; soft prompts stand before the text and are no part of the weights at all.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from alignment.shared.errors import BadInput
from alignment.shared.sentence import Sentence

Method = Literal["full", "lora", "ia3", "houlsby", "layers", "bitfit", "prefix", "prompt", "p_tuning"]
SoftKind = Literal["prefix", "prompt", "p_tuning"]
ADAPTERS: tuple[Method, ...] = ("lora", "ia3", "houlsby")
SOFT: tuple[Method, ...] = ("prefix", "prompt", "p_tuning")
UNMERGED: tuple[Method, ...] = ("houlsby", *SOFT)  # that no linear weight can take in
# The learning rate where none is set, as times that of LoRA: fewer weights take larger steps. IA3 by Liu et al. 2022
# (3e-3), bottleneck adapters by Houlsby et al. 2019 (3e-4), BitFit by Ben Zaken et al. 2022 (up to 1e-3), soft prompts
# by Liu et al. 2021 and Lester et al. 2021.
TIMES_THE_RATE: Mapping[str, float] = {
    "lora": 1.0,
    "ia3": 30.0,
    "houlsby": 3.0,
    "bitfit": 10.0,
    "prefix": 100.0,
    "prompt": 300.0,
    "p_tuning": 10.0,
}
OTHER_NAMES: Mapping[str, str] = {  # under which people look for a method, and the settings that are meant
    "qlora": "method 'lora', lora.bits = 4",
    "dora": "method 'lora', lora.dora = true",
    "rslora": "method 'lora', lora.rank_stabilised = true",
    "p_tuning_v2": "method 'prefix'",
    "bottleneck": "method 'houlsby'",
    "adapter": "method 'houlsby'",
}


@dataclass(frozen=True)
class Rescaling:
    """IA3: a learned factor for each key, value and feed-forward activation (Liu et al. 2022)."""


@dataclass(frozen=True)
class Bottleneck:
    """A narrow net behind each of a block's two sublayers (Houlsby et al. 2019)."""

    width: int


@dataclass(frozen=True)
class OwnWeights:
    """Some of the model's own weights; a score head always belongs to them."""

    layers: int | tuple[str, ...] = ()  # the last so many blocks, or parts by name
    biases: bool = False  # BitFit: every bias (Ben Zaken et al. 2022)


@dataclass(frozen=True)
class SoftPrompt:
    """Learned keys and values (prefix tuning, which P-tuning v2 is), or learned embeddings, before every text."""

    kind: SoftKind
    tokens: int


def require_four_bits() -> None:
    """BadInput where the library that holds weights in four bits is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        cause = Sentence("no-bitsandbytes", "lora.bits is 4, which needs bitsandbytes, and that is not installed here.")
        raise BadInput(
            cause,
            Sentence(
                "no-bitsandbytes-next",
                "Install the extra `qlora` (pip install 'rankloop[qlora]'), or leave lora.bits unset.",
            ),
        )
