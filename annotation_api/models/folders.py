"""Which folders may become models: below an allowed root, safetensors only, no code of their own.

Nothing of a model is executed or unpickled here; weights that need either are refused by name.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignment.problems import Problem
from annotation_api.errors import ApiError, invalid
from annotation_api.settings import Settings

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MAX_CONFIG_BYTES = 16 * 2**20


def resolve(path: str, settings: Settings) -> str:
    """The absolute folder, checked, or the hub id, allowed; a 422 at /path that says what is wrong.

    A relative path is looked for below each root in turn.
    """
    roots = [root.resolve() for root in settings.model_roots]
    for candidate in _candidates(path, roots):
        if candidate.is_dir():
            return str(check_folder(candidate, roots))
    if HUB_ID.fullmatch(path) and not path.startswith(("./", "../")):
        return _allowed_hub_id(path, settings)
    raise _wrong(path, f"There is no folder {path} on the service's machine. Allowed roots: {_list(roots)}.")


def _candidates(path: str, roots: Sequence[Path]) -> list[Path]:
    if "\x00" in path:
        raise _wrong(path.replace("\x00", "?"), "The path holds a NUL character.")
    given = Path(path)
    return [given] if given.is_absolute() else [root / given for root in roots]


def _allowed_hub_id(path: str, settings: Settings) -> str:
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in settings.hub_models):
        return path
    allowed = ", ".join(settings.hub_models) or "none"
    raise _wrong(
        path,
        f"There is no folder {path} below an allowed root, and the hub id {path} is not allowed "
        f"(RANKLOOP_HUB_MODELS allows: {allowed}).",
    )


def check_folder(folder: Path, roots: Sequence[Path]) -> Path:
    """The real path of a usable model folder. Links may not lead out of the roots."""
    real = folder.resolve()
    if not _below(real, roots):
        raise _wrong(
            str(folder), f"{folder} lies outside the allowed roots ({_list(roots)}); see RANKLOOP_MODEL_ROOTS."
        )
    for file in real.iterdir():
        if file.is_symlink() and not _below(file.resolve(), roots):
            raise _wrong(str(folder), f"{file.name} is a link that leads out of the allowed roots ({_list(roots)}).")
    for name in CONFIGS:
        _check_config(real, name)
    _check_files(real)
    return real


def _check_files(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise _wrong(str(folder), f"{folder} holds no tokenizer; one of {', '.join(TOKENIZERS)} is needed.")
    if any(file.stat().st_size > 8 for file in folder.glob("*.safetensors")):
        return
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise _wrong(
            str(folder),
            f"{folder} holds weights only as {pickles[0]}, which can run code when loaded; "
            "convert them to safetensors.",
        )
    raise _wrong(str(folder), f"{folder} holds no weights; a file *.safetensors is needed.")


def _check_config(folder: Path, name: str) -> None:
    """Readable JSON, and no `auto_map`: that names code of the model's own."""
    path = folder / name
    if not path.is_file():
        if name == "config.json":
            raise _wrong(str(folder), f"{folder} holds no config.json, so it is not a model folder.")
        return
    if "auto_map" in _read_config(folder, path):
        raise _wrong(
            str(folder), f"{name} names code of the model's own (auto_map); only models of the library itself load."
        )


def _read_config(folder: Path, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is too large")
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(str(folder), f"{path.name} cannot be read as JSON: {error}.") from None
    if not isinstance(value, dict):
        raise _wrong(str(folder), f"{path.name} must hold a JSON object.")
    return value


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _list(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots)


def _wrong(path: str, message: str) -> ApiError:
    return invalid([Problem(pointer="/path", message=message, value=path[:200])])
