"""Do files, config and tokenizer agree on how many weights there are? The files are asked before memory is taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alignment.models.folder import is_scorer
from alignment.models.view import FolderPart, bad, opened
from alignment.shared.sentence import Sentence

if TYPE_CHECKING:  # PEFT is loaded where there are adapters only
    from peft import PeftModel

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

TYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
WITH_CONFIG = Sentence("save-config-with-weights", "Save config and weights together.")
SPARE_BYTES = 2**30  # for tables that are computed, not stored: positions, masks


def require_fit(auto: Any, config: PretrainedConfig, folder: Path, seen: Path) -> None:
    """Refuse a config that describes other weights than the files in `seen` hold. Allocates no weights.

    First by bytes: no number type that is loaded here takes less than a byte a weight, so this never refuses a whole
    model. Then tensor by tensor, as the library would load them, by the headers of the files.
    """
    stored = sum(path.stat().st_size for path in seen.glob("*.safetensors"))
    with torch.device("meta"):
        skeleton = auto.from_config(copy.deepcopy(config))
    weights = sum(weight.numel() for weight in skeleton.parameters())
    tables = sum(table.numel() * table.element_size() for table in skeleton.buffers())
    head = config.get_text_config().hidden_size  # a new score head is in no file
    if weights > stored + head or tables > stored + SPARE_BYTES:
        raise bad(
            Sentence(
                "config-unlike-files",
                "The config in %(folder)s describes %(weights)s weights and %(tables)s bytes of tables, its "
                "files hold %(stored)s bytes.",
                folder=folder,
                weights=f"{weights:,}",
                tables=f"{tables:,}",
                stored=f"{stored:,}",
            ),
            WITH_CONFIG,
        )
    _require_tensors(type(skeleton), config, folder, seen)


def _require_tensors(kind: Any, config: PretrainedConfig, folder: Path, seen: Path) -> None:
    stored = {name: torch.empty(tensor.get_shape(), device="meta") for name, tensor in _tensors(seen)}
    _, found = kind.from_pretrained(
        None,
        config=copy.deepcopy(config),
        state_dict=stored,
        device_map={"": "meta"},
        ignore_mismatched_sizes=True,  # they are told here
        output_loading_info=True,
    )
    require_all_weights(found["missing_keys"], folder, but=() if is_scorer(config) else ("score.weight",))
    for name, there, said in sorted(found["mismatched_keys"]):
        raise bad(
            Sentence(
                "tensor-unlike-config",
                "The weight %(name)s in %(folder)s has the shape %(there)s; by the config it would be %(said)s.",
                name=name,
                folder=folder,
                there=list(there),
                said=list(said),
            ),
            WITH_CONFIG,
        )


def _tensors(seen: Path) -> Iterator[tuple[str, Any]]:
    """All of the files, by name; only their headers are read."""
    for path in seen.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a dict
                yield name, file.get_slice(name)


def stored_type(folder: Path) -> torch.dtype:
    """The number type of most weights in the folder; float32 where it is none that is trained here."""
    counts: Counter[str] = Counter()
    with opened(folder, FolderPart.WEIGHTS) as seen:
        for _, tensor in _tensors(seen):
            counts[tensor.get_dtype()] += math.prod(tensor.get_shape())
    return TYPES.get(max(counts, key=lambda kind: counts[kind], default=""), torch.float32)


def require_all_weights(missing: Iterable[str], folder: Path, but: Sequence[str]) -> None:
    """Refuse a model of which tensors were in no file, and so would have begun at random."""
    names = sorted(name for name in missing if not name.endswith(tuple(but)))
    if any(name.endswith("score.weight") for name in names):
        raise bad(
            Sentence("no-score-head", "%(folder)s is a reward model without its score head.", folder=folder),
            Sentence("save-with-head", "Save it again, the head included."),
        )
    if names:
        raise bad(
            Sentence(
                "tensors-missing",
                "The weights in %(folder)s lack %(names)s tensors of the model, for example %(first)s.",
                folder=folder,
                names=len(names),
                first=names[0],
            ),
            Sentence("save-or-download-again", "Save or download it again."),
        )


def embedding_rows(model: PreTrainedModel | PeftModel) -> int:
    """How many token ids the model can read."""
    return cast(torch.Tensor, model.get_input_embeddings().weight).shape[0]


def require_numbers(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise bad(
                Sentence(
                    "weight-not-finite",
                    "The weight %(name)s in %(folder)s holds NaN or infinity.",
                    name=name,
                    folder=folder,
                ),
                Sentence("train-that-again", "Train that model again."),
            )


def require_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a tokenizer with more tokens than the model, but for a padding token of ours."""
    rows, needed = embedding_rows(model), len(tokenizer)
    if rows >= needed or (tokenizer.pad_token_id == rows and needed == rows + 1):
        return
    raise bad(
        Sentence(
            "tokenizer-too-large",
            "The model in %(folder)s knows %(rows)s tokens, its tokenizer %(needed)s.",
            folder=folder,
            rows=rows,
            needed=needed,
        ),
        Sentence("save-with-tokenizer", "Save the model with the tokenizer that it was trained with."),
    )


def fit_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Add one embedding row where the tokenizer was given a new padding token; refuse a larger gap."""
    require_vocabulary(model, tokenizer, folder)
    if embedding_rows(model) < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
