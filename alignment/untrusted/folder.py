"""Which files of a model folder are used, and whether they may be: the one copy of the rules.

The service asks before it registers a folder, and every stage asks again before it loads one, since a folder
may have changed. Only files with a known name and ending are used (weights as safetensors, settings, vocabulary,
chat template); a pickle, a Python file or a folder beside them is never opened. Standard library only. Causes are
sentences about the folder, which they do not name: the caller knows it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.untrusted import families
from alignment.untrusted import json as safe_json
from alignment.untrusted import weights as safe_weights
from alignment.untrusted.files import UnsafeModel, no_stand_in, open_regular, read_limited, require_regular

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")  # large, and without settings
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz", ".gguf")
OWN_CODE = f"{CONFIG} names code of the model's own (auto_map); the library knows the family by itself, it is not run."
BOTH_KINDS = f"It holds its weights twice: {WEIGHTS} is read, and not the files that {INDEX} names."
MAX_ENTRIES = 2_000
MAX_BYTES = {".safetensors": 2**44, ".json": 16 * 2**20, ".jinja": 2**20, ".txt": 256 * 2**20, ".model": 256 * 2**20}
MAX_VOCABULARY = 256 * 2**20
SOFT_ADAPTERS = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")
BOTTLENECK = "BOTTLENECK"  # Houlsby et al. 2019, by a tuner of ours
ADAPTER_TYPES = ("LORA", "IA3", BOTTLENECK, *SOFT_ADAPTERS)
WIDTHS = ("hidden_size", "n_embd", "d_model")
COUNTS = re.compile(r"vocab_size|n_layers?|num_(hidden_)?layers|(num|n)_\w*experts")

_SETTINGS = re.compile(
    r"(\w+_)?config\.json|special_tokens_map\.json|chat_template\.json|" + re.escape(INDEX), re.ASCII
)
_UNFINISHED = re.compile(r"\.safetensors.*\.(incomplete|part|crdownload|aria2|tmp|download)$")
_USED = re.compile(r"chat_template\.jinja|(vocab|merges)\.txt|[A-Za-z0-9][\w.-]{0,199}\.(safetensors|model)", re.ASCII)


@dataclass(frozen=True)
class SafeFolder:
    """A folder that passed: its usable files by name, each a regular file that is not a link, and its settings."""

    folder: Path
    files: Mapping[str, Path]
    settings: Mapping[str, Mapping[str, Any]]  # the parsed JSON, vocabularies apart
    ignored: tuple[str, ...] = ()  # what was left out of them, in words

    @property
    def vocabularies(self) -> list[str]:
        """The files that are neither settings nor weights."""
        return [name for name in self.files if name not in self.settings and not name.endswith(".safetensors")]

    def read(self, name: str) -> bytes:
        """The bytes of a file that is no weights."""
        data = read_limited(self.files[name], most_bytes(name))
        no_stand_in(name, data[:100])
        return data


def inspect(folder: Path) -> SafeFolder:
    """Look at every name and read every settings file of an existing folder; UnsafeModel names what is wrong."""
    files = _usable(folder)
    if CONFIG not in files and ADAPTER in files:
        raise UnsafeModel(
            f"it holds adapters without a {CONFIG}.", "Copy that of their base, and its tokenizer, there."
        )
    if CONFIG not in files:
        raise UnsafeModel(f"it has no {CONFIG}, so it is not a model folder.", "Give a saved model's folder.")
    for name, path in files.items():
        require_regular(path, most_bytes(name))
    config = safe_json.parse(CONFIG, read_limited(files[CONFIG], most_bytes(CONFIG)))
    if why := families.refusal(config):
        raise UnsafeModel(why.cause, why.next_step)
    known = families.ignores_own_code(config)
    settings = {name: _settings(name, path, known) for name, path in files.items() if _is_settings(name)}
    _check_adapter(settings.get(ADAPTER))
    both = WEIGHTS in files and INDEX in files
    return SafeFolder(folder, files, settings, (*((OWN_CODE,) if known else ()), *((BOTH_KINDS,) if both else ())))


def require_tokenizer(safe: SafeFolder) -> None:
    if not any(name in safe.files for name in TOKENIZERS):
        names = ", ".join(TOKENIZERS)
        raise UnsafeModel(f"it has no tokenizer ({names}).", "Save the tokenizer beside the model.")


def open_weights(safe: SafeFolder, descriptors: ExitStack, *, adapters: bool = False) -> dict[str, int]:
    """The files that make the model (or its `adapters`), open and with sound headers that fit the config."""
    names = [_require(safe, ADAPTER_WEIGHTS)] if adapters else _weight_names(safe)
    opened = {}
    for name in names:
        opened[name] = open_regular(safe.files[name])
        descriptors.callback(os.close, opened[name])
    found = {name: safe_weights.elements(name, descriptor) for name, descriptor in opened.items()}
    if adapters:
        _check_soft_prompt(safe.settings[ADAPTER], sum(found[ADAPTER_WEIGHTS].values()))
        _check_width(safe.settings[ADAPTER], found[ADAPTER_WEIGHTS])
    else:
        _check_index(safe, found)
        _check_sizes(safe.settings[CONFIG], sum(sum(tensors.values()) for tensors in found.values()))
    return opened


def is_usable(name: str) -> bool:
    """Whether a file of this name is ever read: weights, settings, vocabulary, chat template."""
    return bool(_USED.fullmatch(name)) or _is_settings(name) or name in VOCABULARIES


def plain_name(name: object) -> bool:
    """A name that stays in its folder."""
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,199}", name, re.ASCII))


def _usable(folder: Path) -> dict[str, Path]:
    files = {}
    for number, entry in enumerate(_entries(folder)):
        if number >= MAX_ENTRIES:
            raise UnsafeModel(f"it holds more than {MAX_ENTRIES:,} files.", "Give a folder with one model alone.")
        if not entry.name.isprintable():
            raise UnsafeModel(f"it holds a file named {entry.name[:80]!a}.", "Rename or remove it.")
        target = _target(folder, Path(entry.path)) if entry.is_symlink() else Path(entry.path)
        if is_usable(entry.name):
            files[entry.name] = target
    return files


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise UnsafeModel(f"it cannot be listed: {error.strerror}.", "Check the folder.") from None


def _target(folder: Path, link: Path) -> Path:
    """Where a link leads: within its folder, or into the blobs beside a hub cache's snapshots."""
    real, home = Path(os.path.realpath(link)), Path(os.path.realpath(folder))
    allowed = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(real.is_relative_to(place) for place in allowed):
        raise UnsafeModel(f"{link.name} is a link that leads out of the folder.", "Copy the file into the folder.")
    return real


def _is_settings(name: str) -> bool:
    return bool(_SETTINGS.fullmatch(name))


def most_bytes(name: str) -> int:
    """Of a usable file."""
    return MAX_VOCABULARY if name in VOCABULARIES else MAX_BYTES[Path(name).suffix]


def _settings(name: str, path: Path, known: bool) -> dict[str, Any]:
    values = safe_json.parse(name, read_limited(path, most_bytes(name)))
    if known and name == CONFIG:
        values.pop("auto_map")
    safe_json.check(name, values, config=name in (CONFIG, ADAPTER))
    if name == GENERATION:
        _check_ids(values)
    return values


def _check_ids(values: Mapping[str, Any]) -> None:
    """Token ids in the settings of generation: whole numbers; of stops there can be a list."""
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = values.get(key)
        many = value if isinstance(value, list) and key == "eos_token_id" else [value]
        if value is not None and not all(type(item) is int for item in many):
            raise UnsafeModel(f"{GENERATION} says {key} = {str(value)[:40]}.", "Give a token's number, or remove it.")


def _check_adapter(values: Mapping[str, Any] | None) -> None:
    """Adapters of the kinds that are made here, which read nothing from elsewhere."""
    if values is None:
        return
    if values.get("peft_type") not in ADAPTER_TYPES:
        kind, known = str(values.get("peft_type"))[:40], ", ".join(ADAPTER_TYPES)
        raise UnsafeModel(f"{ADAPTER} describes adapters of type {kind!r}.", f"Give a whole model, or one of {known}.")
    if values.get("tokenizer_name_or_path") is not None:
        told = str(values["tokenizer_name_or_path"])[:80]
        raise UnsafeModel(f"{ADAPTER} names another tokenizer ({told!r}).", "Set tokenizer_name_or_path to null.")


def _check_soft_prompt(values: Mapping[str, Any], total: int) -> None:
    """As many numbers as the weights hold: it is made before they are read."""
    if not isinstance(tokens := values.get("num_virtual_tokens"), int):
        return
    sides = (2, values.get("num_layers")) if values["peft_type"] == "PREFIX_TUNING" else ()
    sides = (*sides, values.get("num_transformer_submodules") or 1)  # PEFT makes room for each
    numbers = (tokens, values.get("token_dim"), *sides)
    if not all(type(number) is int and number > 0 for number in numbers) or math.prod(numbers) != total:
        raise UnsafeModel(f"{ADAPTER} describes a soft prompt of another size than its weights.", "Save them together.")


def _check_width(values: Mapping[str, Any], found: Mapping[str, int]) -> None:
    """As wide as the weights say: room is made before they are read."""
    if values["peft_type"] != BOTTLENECK:
        return
    widths = {size for name, size in found.items() if name.endswith("bottleneck_down.bias")}
    if type(values.get("width")) is not int or widths != {values["width"]}:
        raise UnsafeModel(f"{ADAPTER} describes adapters of another width than its weights.", "Save them together.")


def _weight_names(safe: SafeFolder) -> list[str]:
    if WEIGHTS in safe.files:
        return [WEIGHTS]
    if INDEX in safe.files:
        return _indexed(safe)
    pickles = sorted(entry.name for entry in _entries(safe.folder) if Path(entry.name).suffix in PICKLES)
    if pickles:
        raise UnsafeModel(
            f"it holds weights only as {pickles[0]}, which can run code when loaded.",
            f"Convert them: rankloop models convert {safe.folder} NEW_FOLDER.",
        )
    if found := sorted(entry.name for entry in _entries(safe.folder) if _UNFINISHED.search(entry.name)):
        raise UnsafeModel(f"its weights are not whole: {found[0]} is the rest of a download.", "Download it again.")
    if found := sorted(name for name in safe.files if name.endswith(".safetensors") and name != ADAPTER_WEIGHTS):
        raise UnsafeModel(
            f"it holds safetensors only as {', '.join(found[:3])}, which no library of models reads under this name.",
            f"A single file in the library's own names is called {WEIGHTS}; several need {INDEX} beside them.",
        )
    raise UnsafeModel("it holds no weights.", f"{WEIGHTS}, or {INDEX} with its files, is needed.")


def _indexed(safe: SafeFolder) -> list[str]:
    places = safe.settings[INDEX].get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UnsafeModel(f"{INDEX} has no weight_map.", "Save the model again.")
    for place in places.values():
        if not plain_name(place) or not place.endswith(".safetensors"):
            raise UnsafeModel(
                f"{INDEX} names {str(place)[:80]!r}, which is no safetensors file beside it.", "Save the model again."
            )
    return sorted({_require(safe, place) for place in places.values()})


def _require(safe: SafeFolder, name: str) -> str:
    if name not in safe.files:
        raise UnsafeModel(f"it lacks {name}.", "Put it back or save the model again.")
    return name


def _check_index(safe: SafeFolder, found: Mapping[str, Mapping[str, int]]) -> None:
    """Every tensor lies where the index says, where there is one in use."""
    places = {} if WEIGHTS in found else safe.settings[INDEX]["weight_map"]
    for file, tensors in found.items() if places else ():
        if twice := next((name for name in tensors if places.get(name, file) != file), None):
            raise UnsafeModel(
                f"{twice[:80]!r} stands in {file} and, by {INDEX}, in {places[twice]}.", "Save the model again."
            )
    for tensor, place in places.items():
        if tensor not in found[place]:
            raise UnsafeModel(f"{INDEX} looks for {tensor[:80]!r} in {place}, which lacks it.", "Save the model again.")


def _check_sizes(config: Mapping[str, Any], total: int) -> None:
    """No more words, layers or experts than the weights have room for: each takes at least one row of the width."""
    text = config.get("text_config")
    for values in (config, text if isinstance(text, dict) else {}):
        width = next((values[name] for name in WIDTHS if type(values.get(name)) is int), 1)
        for key, value in values.items():
            if COUNTS.fullmatch(key) and type(value) is int and value * max(width, 1) > total:
                raise UnsafeModel(
                    f"{CONFIG} says {key} = {value:,} at a width of {width:,}, but the weights hold {total:,} numbers.",
                    "Save config and weights together.",
                )
