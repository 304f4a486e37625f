"""Where the base of adapters lies, which their folder names, and whether it may be used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from alignment.shared.sentence import Sentence
from alignment.untrusted.files import UnsafeModel
from alignment.untrusted.folder import ADAPTER, CONFIG, SafeFolder, inspect
from alignment.untrusted.weight_files import open_weights

KNOWN_BY = 2  # last parts of a path by which a folder is known again: a name alone may stand in many places

MOST_STACKED = 16  # adapters on adapters, round after round


def bases_of(safe: SafeFolder, allowed: Callable[[Path], bool]) -> list[SafeFolder]:
    """The folders that adapters stand on, the whole model last; none of a whole model.

    Each must be sound, and its real path `allowed`. What is not allowed is told as what is not there.
    """
    found: list[SafeFolder] = []
    while ADAPTER in safe.files:
        named = safe.settings[ADAPTER].get("base_model_name_or_path")
        base = Path(os.path.realpath(base_of(safe.folder, named))) if isinstance(named, str) and named else None
        if base is None or not base.is_dir() or not allowed(base):
            raise UnsafeModel(
                Sentence(
                    "unsafe-holds-adapters-on-no",
                    "it holds adapters on %(named)s, which is no folder that may be used.",
                    named=repr(str(named)[:200]),
                ),
                Sentence(
                    "unsafe-name-folder-model-below",
                    "Name the folder of that model, below an allowed root, in base_model_name_or_path; or merge them.",
                ),
            )
        if len(found) == MOST_STACKED:
            raise UnsafeModel(
                Sentence(
                    "unsafe-adapters-stand-on-more",
                    "its adapters stand on more than %(most_stacked)s others.",
                    most_stacked=MOST_STACKED,
                ),
                Sentence("unsafe-merge-them-first", "Merge them first."),
            )
        with ExitStack() as descriptors:
            open_weights(safe, descriptors, adapters=True)
        safe = inspect(base)
        found.append(safe)
    return found


def kind_of(folder: Path) -> str | None:
    """What kind of adapters a folder holds, by its own word; None where it holds none."""
    try:
        said = json.loads((folder / ADAPTER).read_text("utf-8"))["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(said)


def base_of(folder: Path, named: str) -> Path:
    """The base that the adapters in `folder` name: by a path seen from there, or where both were moved together.

    Whoever restores a home elsewhere moves adapters and base alike; the place that is named is then the old one.
    """
    given = folder / named
    return given if given.is_dir() else next(_moved(folder, Path(named)), given)


def _moved(folder: Path, named: Path) -> Iterator[Path]:
    """Folders of a model that lie to the folders above as the named one lay to its own."""
    tails = [named.parts[start:] for start in range(1, len(named.parts) - KNOWN_BY + 1)]
    for above in folder.resolve().parents:
        yield from (
            place for tail in tails if (place := above.joinpath(*tail)) != folder and (place / CONFIG).is_file()
        )
