"""Where the base of adapters lies, which their folder names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alignment.untrusted.folder import CONFIG

KNOWN_BY = 2  # last parts of a path by which a folder is known again: a name alone may stand in many places


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
