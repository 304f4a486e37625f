"""Which paths may become models: a sound folder below an allowed root, or an allowed hub id.

What makes a folder sound is written in `alignment.untrusted.folder`, which every stage asks again. Nothing of a model
is executed or unpickled here, and nothing outside the roots is looked at.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from alignment.untrusted import folder as safe_folder
from alignment.untrusted.adapters import bases_of
from alignment.untrusted.files import UnsafeModel, read_limited
from alignment.untrusted.weight_files import open_weights
from annotation_api.http.errors import ApiError, invalid
from annotation_api.settings import Settings

MAX_MANIFEST = 16 * 2**20
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-])){0,94}[A-Za-z0-9_]|[A-Za-z0-9]"
HUB_ID = re.compile(rf"(?P<id>(?:{_WORD})/(?:{_WORD}))(?:@[0-9a-f]{{40}})?")


def resolve(path: str, settings: Settings) -> str:
    """The absolute folder, checked, or the hub id, allowed; a 422 at /path that says what is wrong.

    A relative path is looked for below each root in turn. `owner/name@commit` pins a hub id to that commit.
    """
    if not path.isprintable():
        raise _wrong(path, Sentence("path-unseen-character", "The path holds a character that cannot be seen."))
    roots = _roots(settings)
    for candidate in [Path(path)] if Path(path).is_absolute() else [root / path for root in roots]:
        real = _real(candidate, roots)
        if real is not None and _is_folder(real):
            return str(check_folder(real, settings))
    return _allowed_hub_id(path, settings, roots)


def check_folder(folder: Path, settings: Settings) -> Path:
    """The folder itself, a real path, when it may be loaded."""
    _sound(folder, settings)
    return folder


def check_upload(folder: Path, settings: Settings, name: str) -> None:
    """The same of what somebody sent, who knows it by `name`, not by where it lies here."""
    _sound(folder, settings, name, "/files")


def _sound(folder: Path, settings: Settings, name: str = "", at: str = "/path") -> list[safe_folder.SafeFolder]:
    """The folder, and where it holds adapters all that they stand on, which must lie below the roots."""
    try:
        safe = safe_folder.inspect(folder)
        safe_folder.require_tokenizer(safe)
        below = [safe, *bases_of(safe, lambda base: _real(base, _roots(settings)) is not None)]
        with ExitStack() as descriptors:
            open_weights(below[-1], descriptors)
    except UnsafeModel as error:
        raise _wrong(
            name or str(folder),
            Sentence(
                "folder-unusable-next",
                "%(folder)s cannot be used: %(cause)s %(next_step)s",
                folder=name or folder,
                cause=error.cause,
                next_step=error.next_step,
            ),
            at,
        ) from None
    return below


def base_under(path: str, settings: Settings) -> dict[str, str]:
    """What the registry keeps of a resolved folder's adapters: the folder that they stand on, if it holds such."""
    if not Path(path, safe_folder.ADAPTER).is_file():
        return {}
    return {"base": str(_sound(Path(path), settings)[1].folder)}


def manifest_hash(path: str) -> str | None:
    """The identity of a resolved folder that this product wrote; others, and hub ids, have none."""
    manifest = Path(path, "manifest.json")
    if not manifest.is_absolute() or not os.path.lexists(manifest):
        return None
    try:
        return hashlib.sha256(read_limited(manifest, MAX_MANIFEST)).hexdigest()
    except UnsafeModel as error:
        raise _wrong(
            path,
            Sentence(
                "path-unusable",
                "%(path)s cannot be used: %(cause)s %(next_step)s",
                path=path,
                cause=error.cause,
                next_step=error.next_step,
            ),
        ) from None


def _roots(settings: Settings) -> list[Path]:
    return [Path(os.path.realpath(root)) for root in settings.model_roots]


def _real(candidate: Path, roots: Sequence[Path]) -> Path | None:
    """The path without links, when it lies below a root; outside, whether there is something is not told."""
    try:
        real = Path(os.path.realpath(candidate))
    except OSError:
        return None
    return real if any(real.is_relative_to(root) for root in roots) else None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, or a folder above it that may not be entered
        return False


def _allowed_hub_id(path: str, settings: Settings, roots: Sequence[Path]) -> str:
    found = HUB_ID.fullmatch(path)
    if found and any(fnmatch.fnmatchcase(found["id"], pattern) for pattern in settings.hub_models):
        return path
    message = Sentence(
        "no-folder-below",
        "There is no folder %(path)s below an allowed root (%(roots)s; RANKLOOP_MODEL_ROOTS).",
        path=path.encode("utf-8", "replace").decode(),
        roots=", ".join(map(str, roots)),
    )
    if found:
        allowed = ", ".join(settings.hub_models) or "none"
        hub = Sentence(
            "hub-not-allowed",
            "The hub id %(id)s is not allowed (RANKLOOP_HUB_MODELS allows: %(allowed)s).",
            id=found["id"],
            allowed=allowed,
        )
        message = Sentence("then", "%(first)s %(then)s", first=message, then=hub)
    raise _wrong(path, message)


def _wrong(path: str, message: str, at: str = "/path") -> ApiError:
    shown = path.encode("utf-8", "replace").decode()
    return invalid([Problem(pointer=at, message=message, value=shown[:200])])
