"""Which files of a model folder are used, and whether they may be: the one copy of the rules.

The service asks before it registers a folder, and every stage asks again before it loads one, since a folder
may have changed. Only files with a known name and ending are used (weights as safetensors, settings, vocabulary,
chat template); a pickle, a Python file or a folder beside them is never opened. Standard library only. Causes are
sentences about the folder, which they do not name: the caller knows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.shared.sentence import Sentence
from alignment.untrusted import families
from alignment.untrusted import json as safe_json
from alignment.untrusted.files import UnsafeModel, no_stand_in, read_limited, require_regular

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")  # large, and without settings
OWN_CODE = Sentence(
    "own-code-not-run",
    "%(config)s names code of the model's own (auto_map); the library knows the family by itself, it is not run.",
    config=CONFIG,
)
BOTH_KINDS = Sentence(
    "weights-twice",
    "It holds its weights twice: %(weights)s is read, and not the files that %(index)s names.",
    weights=WEIGHTS,
    index=INDEX,
)
MAX_ENTRIES = 2_000
MAX_BYTES = {".safetensors": 2**44, ".json": 16 * 2**20, ".jinja": 2**20, ".txt": 256 * 2**20, ".model": 256 * 2**20}
MAX_VOCABULARY = 256 * 2**20
SOFT_ADAPTERS = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")
BOTTLENECK = "BOTTLENECK"  # Houlsby et al. 2019, by a tuner of ours
ADAPTER_TYPES = ("LORA", "IA3", BOTTLENECK, *SOFT_ADAPTERS)

_SETTINGS = re.compile(
    r"(\w+_)?config\.json|special_tokens_map\.json|chat_template\.json|" + re.escape(INDEX), re.ASCII
)
_USED = re.compile(r"chat_template\.jinja|(vocab|merges)\.txt|[A-Za-z0-9][\w.-]{0,199}\.(safetensors|model)", re.ASCII)


@dataclass(frozen=True)
class SafeFolder:
    """A folder that passed: its usable files by name, each a regular file that is not a link, and its settings."""

    folder: Path
    files: Mapping[str, Path]
    settings: Mapping[str, Mapping[str, Any]]  # the parsed JSON, vocabularies apart
    ignored: tuple[Sentence, ...] = ()  # what was left out of them, in words

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
            Sentence("unsafe-holds-adapters-without", "it holds adapters without a %(config)s.", config=CONFIG),
            Sentence("unsafe-copy-their-base-tokenizer", "Copy that of their base, and its tokenizer, there."),
        )
    if CONFIG not in files:
        raise UnsafeModel(
            Sentence("unsafe-has-no-so-not", "it has no %(config)s, so it is not a model folder.", config=CONFIG),
            Sentence("unsafe-give-saved-model-s", "Give a saved model's folder."),
        )
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
        raise UnsafeModel(
            Sentence("unsafe-has-no-tokenizer", "it has no tokenizer (%(names)s).", names=names),
            Sentence("unsafe-save-tokenizer-beside-model", "Save the tokenizer beside the model."),
        )


def is_usable(name: str) -> bool:
    """Whether a file of this name is ever read: weights, settings, vocabulary, chat template."""
    return bool(_USED.fullmatch(name)) or _is_settings(name) or name in VOCABULARIES


def plain_name(name: object) -> bool:
    """A name that stays in its folder."""
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9][\w.-]{0,199}", name, re.ASCII))


def _usable(folder: Path) -> dict[str, Path]:
    files = {}
    for number, entry in enumerate(entries(folder)):
        if number >= MAX_ENTRIES:
            raise UnsafeModel(
                Sentence(
                    "unsafe-holds-more-than-files",
                    "it holds more than %(max_entries)s files.",
                    max_entries=f"{MAX_ENTRIES:,}",
                ),
                Sentence("unsafe-give-folder-with-one", "Give a folder with one model alone."),
            )
        if not entry.name.isprintable():
            raise UnsafeModel(
                Sentence("unsafe-holds-file-named", "it holds a file named %(file)s.", file=ascii(entry.name[:80])),
                Sentence("unsafe-rename-remove", "Rename or remove it."),
            )
        target = _target(folder, Path(entry.path)) if entry.is_symlink() else Path(entry.path)
        if is_usable(entry.name):
            files[entry.name] = target
    return files


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise UnsafeModel(
            Sentence("unsafe-cannot-be-listed", "it cannot be listed: %(why)s.", why=error.strerror),
            Sentence("unsafe-check-folder", "Check the folder."),
        ) from None


def _target(folder: Path, link: Path) -> Path:
    """Where a link leads: within its folder, or into the blobs beside a hub cache's snapshots."""
    real, home = Path(os.path.realpath(link)), Path(os.path.realpath(folder))
    allowed = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(real.is_relative_to(place) for place in allowed):
        raise UnsafeModel(
            Sentence(
                "unsafe-link-leads-out-folder", "%(file)s is a link that leads out of the folder.", file=link.name
            ),
            Sentence("unsafe-copy-file-into-folder", "Copy the file into the folder."),
        )
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
            said = Sentence(
                "unsafe-id", "%(file)s says %(key)s = %(value)s.", file=GENERATION, key=key, value=str(value)[:40]
            )
            raise UnsafeModel(said, Sentence("unsafe-give-id", "Give a token's number, or remove it."))


def _check_adapter(values: Mapping[str, Any] | None) -> None:
    """Adapters of the kinds that are made here, which read nothing from elsewhere."""
    if values is None:
        return
    if values.get("peft_type") not in ADAPTER_TYPES:
        kind, known = str(values.get("peft_type"))[:40], ", ".join(ADAPTER_TYPES)
        raise UnsafeModel(
            Sentence(
                "unsafe-describes-adapters-type",
                "%(adapter)s describes adapters of type %(kind)s.",
                adapter=ADAPTER,
                kind=repr(kind),
            ),
            Sentence("unsafe-give-whole-model-one", "Give a whole model, or one of %(known)s.", known=known),
        )
    if values.get("tokenizer_name_or_path") is not None:
        told = str(values["tokenizer_name_or_path"])[:80]
        raise UnsafeModel(
            Sentence(
                "unsafe-names-another-tokenizer",
                "%(adapter)s names another tokenizer (%(told)s).",
                adapter=ADAPTER,
                told=repr(told),
            ),
            Sentence("unsafe-set-tokenizer-name-path", "Set tokenizer_name_or_path to null."),
        )
