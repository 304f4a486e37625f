"""A folder is whole or absent: fsync, manifest last, one rename.

A stage writes into a staging folder. `publish` writes the manifest (a sha256 and size for every
file), makes all of it durable and renames the folder into place, so that a reader sees either
nothing or everything, whenever the process dies. `verify` tells a whole folder from a damaged one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from alignment.shared.errors import Damaged, DiskFull, StageError, is_full
from alignment.shared.events import StageResult
from alignment.shared.records import canonical_json, sha256_text, storable
from alignment.shared.sentence import Sentence

MANIFEST = "manifest.json"
RESULT = "result.json"
ERASED = "erased.json"  # beside the manifest: which of its files were erased since, and which were written anew
TEXTS = ("*.jsonl", "*.html", "preparation.json", "*.part")  # what may be erased: lists and pages of texts
CARD = "README.md"  # what may be written anew, with result.json; never what a model is made of


def write_manifest(folder: Path) -> str:
    """Write `manifest.json` over all files below `folder`; return the sha256 of the manifest itself."""
    files = {path.relative_to(folder).as_posix(): _entry(path) for path in files_below(folder)}
    data = canonical_json({"files": files}).encode() + b"\n"
    with (folder / MANIFEST).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def write_result(folder: Path, config: Mapping[str, Any], result: StageResult) -> None:
    """Write `result.json`: the stage, its settings, and what it measured; numbers that are not finite are null."""
    record = {"stage": result.stage, "config": config, "metrics": result.metrics, "details": result.details}
    (folder / RESULT).write_text(canonical_json(storable(record)) + "\n", encoding="utf-8")


def verify(folder: Path) -> dict[str, Any]:
    """Check every file below `folder` against its manifest and return the manifest.

    Raises Damaged that names the first missing, changed or unlisted file.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        listed: dict[str, dict[str, Any]] = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(folder, f"{MANIFEST} is missing or unreadable ({type(error).__name__})") from error
    present = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    removed, rewritten = erased(folder)
    for name in sorted(listed.keys() | present.keys()):
        if name not in present and name in removed:
            continue
        if name not in present:
            raise _corrupt(folder, f"{name} is missing")
        if name not in listed:
            raise _corrupt(folder, f"{name} is not in the manifest")
        if _entry(present[name]) not in (listed[name], *rewritten.get(name, ())):
            raise _corrupt(folder, f"{name} differs from the manifest")
    return manifest


def erased(folder: Path) -> tuple[frozenset[str], dict[str, list[dict[str, Any]]]]:
    """The files of a published folder that may be missing, and those that may be as they were written anew."""
    if not (folder / ERASED).is_file():
        return frozenset(), {}
    said = json.loads((folder / ERASED).read_bytes())
    removed = frozenset(name for name in said["removed"] if any(fnmatch(name, pattern) for pattern in TEXTS))
    return removed, {name: entries for name, entries in said["rewritten"].items() if name in (CARD, RESULT)}


def erase(folder: Path, names: Collection[str], anew: Mapping[str, str]) -> None:
    """Take files out of a published folder for what they say, and write others anew; the manifest stays as it is.

    What will be is written down first, so that the folder is sound at any moment.
    """
    removed, rewritten = erased(folder)
    for name, text in anew.items():
        entry = {"sha256": sha256_text(text), "size": len(text.encode())}
        rewritten[name] = [one for one in rewritten.get(name, []) if one != entry] + [entry]
    said = {"removed": sorted(removed | set(names)), "rewritten": rewritten}
    _replace(folder / ERASED, canonical_json(said) + "\n")
    for name, text in anew.items():
        _replace(folder / name, text)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    _sync_path(folder)


def _replace(path: Path, text: str) -> None:
    """One moment the old content, the next the new."""
    part = path.parent.with_name(f".{path.parent.name}-{path.name}.part")  # the folder itself is whole at any moment
    part.write_text(text, encoding="utf-8")
    _sync_path(part)
    os.replace(part, path)


def publish(staging: Path, final: Path, at: Callable[[str], None] = lambda step: None) -> str:
    """Make `staging` durable and rename it to `final`; return the sha256 of its manifest.

    Both lie on one file system. `at` hears of every step that is done. Raises StageError when `final`
    exists, DiskFull when the disk is; either way `staging` is left as it was.
    """
    if final.exists():
        raise _exists(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        for path in files_below(staging):
            _sync_path(path)
        at("staging_fsynced")
        digest = write_manifest(staging)
        at("manifest_written")
        for folder in [staging, *(path for path in staging.rglob("*") if path.is_dir())]:
            _sync_path(folder)
        os.rename(staging, final)
        at("folder_renamed")
        _sync_path(final.parent)
    except OSError as error:
        if is_full(error):
            raise DiskFull(
                Sentence("no-room-for", "No room to write %(final)s.", final=final),
                Sentence("free-space", "Free some disk space."),
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # somebody published between check and rename
            raise _exists(final) from error
        raise
    return digest


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder in the order of their names, its own manifest and what it says of erasures left out."""
    own = (folder / MANIFEST, folder / ERASED)
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in own)


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "size": path.stat().st_size}


def sha256_file(path: Path) -> str:
    """Of its content, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _corrupt(folder: Path, what: str) -> StageError:
    return Damaged(
        Sentence("folder-damaged", "%(folder)s: %(what)s.", folder=folder, what=what),
        Sentence("train-or-restore", "Train the stage again or restore the folder."),
    )


def _exists(final: Path) -> StageError:
    return StageError(
        Sentence("final-exists", "%(final)s exists already and is never overwritten.", final=final),
        Sentence("publish-new-name", "Publish to a new name."),
    )
