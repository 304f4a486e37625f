"""Texts of a micro-batch in one row without padding, each to itself: TRL lays them out, the model must keep them apart.

It is told by their positions, which begin anew with each text. Whether a model heeds that is tried out, not guessed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from alignment.shared.errors import BadInput

TEXTS = [[3, 4, 5, 6], [5, 3, 4]]
CLOSE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # of logits said in two ways, relative to the largest


@torch.no_grad()
def require_packing(model: Any) -> None:
    """BadInput for a model that says something else of texts in one row than of each alone."""
    was_training = model.training
    model.eval()
    alone = torch.cat([model(input_ids=torch.tensor([ids], device=model.device)).logits[0] for ids in TEXTS]).float()
    found = _in_one_row(model)
    model.train(was_training)
    if found is None or (found - alone).abs().max() > CLOSE.get(model.dtype, 1e-3) * alone.abs().max():
        kind = str(model.config.get_text_config().model_type)
        raise BadInput(f"packing is true, but {kind} does not keep texts in one row apart.", "Set packing to false.")


def _in_one_row(model: Any) -> Tensor | None:
    row = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([{"input_ids": ids} for ids in TEXTS])
    row = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in row.items()}
    del row["labels"]
    try:
        return model(**row, use_cache=False).logits[0].float()  # type: ignore[no-any-return]
    except (TypeError, ValueError, RuntimeError):  # a model that takes no such arguments
        return None
