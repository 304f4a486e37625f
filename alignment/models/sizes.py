"""Do files, config and tokenizer agree on how many weights there are, and are they numbers? The files are asked before
memory is taken."""

from __future__ import annotations

import copy
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alignment.models.folder import is_scorer
from alignment.models.view import FolderPart, bad, opened
from alignment.shared.errors import StageError
from alignment.shared.sentence import Sentence

if TYPE_CHECKING:  # PEFT is loaded where there are adapters only
    from peft import PeftModel


EXPERT = re.compile(r"(.*\.experts\.)(\d{1,6})(\..+)")
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
MOST_EXPERTS = 4096  # a name can hold any number
SCAN_SECONDS = 15.0
PIECE = 2**24  # numbers of a weight in memory at a time
FLOATING = ("F64", "F32", "F16", "BF16")
TYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
WITH_CONFIG = Sentence("save-config-with-weights", "Save config and weights together.")
SPARE_BYTES = 2**30  # for tables that are computed, not stored: positions, masks


def require_fit(auto: Any, config: PretrainedConfig, folder: Path, seen: Path) -> list[str]:
    """Refuse a config that describes other weights than the files in `seen` hold. Allocates no weights.

    First by bytes: no number type that is loaded here takes less than a byte a weight, so this never refuses a whole
    model. Then tensor by tensor, as the library would load them, by the headers of the files. Returns the names of
    those that the model has no place for.
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
    return _require_tensors(type(skeleton), config, folder, seen)


def _require_tensors(kind: Any, config: PretrainedConfig, folder: Path, seen: Path) -> list[str]:
    types = {name: tensor.get_dtype() for name, tensor in _tensors(seen)}
    stored = {name: torch.empty(tensor.get_shape(), device="meta") for name, tensor in _tensors(seen)}
    _require_experts({name: list(tensor.shape) for name, tensor in stored.items()}, config, folder)
    _, found = kind.from_pretrained(
        None,
        config=copy.deepcopy(config),
        state_dict=stored,
        device_map={"": "meta"},
        ignore_mismatched_sizes=True,  # they are told here
        output_loading_info=True,
    )
    _require_whole_numbers_nowhere(types, set(found["unexpected_keys"]), folder)
    require_all_weights(found["missing_keys"], folder, but=() if is_scorer(config) else ("score.weight",))
    for name, there, said in sorted(found["mismatched_keys"]):
        raise _other_shape(name, folder, list(there), list(said))
    return sorted(found["unexpected_keys"])


def _require_experts(shapes: Mapping[str, list[int]], config: PretrainedConfig, folder: Path) -> None:
    """Every expert of a block has what the others have, and they are as many as the config says.

    The library joins them into one tensor, and where that fails it names none.
    """
    blocks: dict[str, dict[tuple[int, str], list[int]]] = {}
    for name, shape in shapes.items():
        if part := EXPERT.fullmatch(name):
            blocks.setdefault(part[1], {})[int(part[2]), part[3]] = shape
    if not blocks:
        return
    count = 1 + max(number for block in blocks.values() for number, _ in block)
    said = _experts_of(config, count)
    if said < count:
        english = "The config in %(folder)s says %(said)s experts, its files hold %(count)s."
        raise bad(Sentence("experts-unlike-config", english, folder=folder, said=said, count=count), WITH_CONFIG)
    for before, block in blocks.items():
        whole = {(number, after) for number in range(min(said, MOST_EXPERTS)) for _, after in block}
        require_all_weights((f"{before}{number}{after}" for number, after in whole - block.keys()), folder, but=())
        for (number, after), shape in block.items():
            first = block[0, after]
            if shape != first:
                raise _other_shape(f"{before}{number}{after}", folder, shape, first)


def _experts_of(config: PretrainedConfig, otherwise: int) -> int:
    """How many the config says, in whichever name its family has for it."""
    text = config.get_text_config()
    found = (getattr(text, name, None) for name in EXPERT_COUNTS)
    return next((count for count in found if type(count) is int), otherwise)


def _other_shape(name: str, folder: Path, there: list[int], said: list[int]) -> StageError:
    english = "The weight %(name)s in %(folder)s has the shape %(there)s; by the config it would be %(said)s."
    return bad(Sentence("tensor-unlike-config", english, name=name, folder=folder, there=there, said=said), WITH_CONFIG)


def _require_whole_numbers_nowhere(types: Mapping[str, str], unread: set[str], folder: Path) -> None:
    """Refuse weights in whole numbers: they mean something only times their scales, which nothing here applies."""
    for name, kind in types.items():
        if name.endswith("weight") and name not in unread and kind not in FLOATING:
            english = "The weight %(name)s in %(folder)s is quantized: its numbers are of the type %(kind)s."
            cause = Sentence("weight-quantized", english, name=name, folder=folder, kind=kind)
            raise bad(cause, Sentence("give-unquantized", "Give the model from which it was quantized."))


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
            raise not_numbers(name, folder)


def scan(folder: Path, seconds: float = SCAN_SECONDS) -> Sentence:
    """Whether the weights in the files are numbers, and how far that was looked at, in words; a piece at a time, for as
    long as somebody who waits may wait. Raises BadInput as `require_numbers`, with which a stage looks at all of them.
    """
    until, seen, total = time.monotonic() + seconds, 0, 0
    with opened(folder, FolderPart.WEIGHTS) as view:
        for name, tensor in _tensors(view):
            if tensor.get_dtype() not in FLOATING:
                continue
            total += math.prod(tensor.get_shape())
            for piece in _pieces(tensor):
                if time.monotonic() >= until:
                    break
                if not piece.isfinite().all():
                    raise not_numbers(name, folder)
                seen += piece.numel()
    if seen == total:
        return Sentence("all-are-numbers", "all are numbers")
    english = "%(share)s were looked at; a stage looks at all of them"
    return Sentence("some-looked-at", english, share=f"{seen / total:.0%}")


def _pieces(tensor: Any) -> Iterator[torch.Tensor]:
    """Rows of the tensor, as many as fit into PIECE; of one without sides all of it."""
    shape = tensor.get_shape()
    rows = max(1, PIECE * shape[0] // max(1, math.prod(shape))) if shape else 0
    yield from (tensor[start : start + rows] for start in range(0, shape[0], rows)) if shape else (tensor[...],)


def not_numbers(name: str, folder: Path) -> StageError:
    english = "The weight %(name)s in %(folder)s holds NaN or infinity."
    cause = Sentence("weight-not-finite", english, name=name, folder=folder)
    return bad(cause, Sentence("train-that-again", "Download or copy it again, or train that model again."))


def require_sound(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """What the library finds out only when a text is read."""
    if isinstance(templates := tokenizer.chat_template, dict) and "default" not in templates:
        english = "The tokenizer in %(folder)s has the chat templates %(names)s, and none called default."
        cause = Sentence("no-default-template", english, folder=folder, names=", ".join(templates))
        raise bad(cause, Sentence("name-default", "Name the one to use default in its tokenizer_config.json."))
    if not isinstance(longest := tokenizer.model_max_length, int | float):
        english = "The tokenizer in %(folder)s says model_max_length = %(longest)s, which is no number."
        cause = Sentence("no-longest", english, folder=folder, longest=repr(longest)[:40])
        raise bad(cause, Sentence("mend-tokenizer-config", "Mend its tokenizer_config.json."))


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
