"""What differs between families of base models, as data: the rest of the code asks here, and has no branches.

Keys are `model_type` in config.json. Standard library only: the service reads this too.
"""

from __future__ import annotations

import re

# Parts of a model that adapters usually leave alone: what chooses among experts, the experts themselves (of which each
# sees few tokens), and towers that read something else than text.
_LEFT_ALONE = re.compile(
    r"(^|\.)(router\w*|\w*_router|gate|\w*experts?|shared_expert_gate|vision\w*|visual\w*|audio\w*|image_\w+|img_\w+"
    r"|multi_?modal\w*|embed_tokens_extend|patch_embedding\w*|altup\w*)(\.|$)"
)
_FEED_FORWARD = re.compile(r"\.(gate_proj|up_proj|down_proj|gate_up_proj|w1|w2|w3)$")
# Layers whose weights the family's kernels read directly, past an adapter on them (PEFT refuses them, too).
_NOT_ADAPTABLE = dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"), ("out_proj", "conv1d"))


def adaptable(family: str, layer: str) -> bool:
    """Whether a linear layer of that full name can carry an adapter at all."""
    return layer.rpartition(".")[2] not in _NOT_ADAPTABLE.get(family, ())


def usually_adapted(family: str, layer: str, experts: bool) -> bool:
    """Whether adapters usually sit on it: on all projections of the text model's own blocks; beside experts, on
    those of attention alone (PEFT takes the names of a dense block's layers for the experts')."""
    chosen = adaptable(family, layer) and not _LEFT_ALONE.search(layer)
    return chosen and not (experts and _FEED_FORWARD.search(layer))
