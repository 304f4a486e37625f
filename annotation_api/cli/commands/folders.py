"""A folder that `datasets` saved, as the one file that is sent."""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from annotation_api.cli.client import ClientError

STATE, SPLITS = "state.json", "dataset_dict.json"


@contextlib.contextmanager
def as_file(source: Path) -> Iterator[Path]:
    """The file itself; a folder of `save_to_disk` as a zip that is gone afterwards."""
    if source.is_file():
        yield source
        return
    _check(source)
    with tempfile.TemporaryDirectory(prefix="rankloop-") as scratch:
        target = Path(scratch, f"{source.resolve().name}.zip")
        with zipfile.ZipFile(target, "w") as archive:
            for file in (source / STATE, *sorted(source.glob("*.arrow"))):
                archive.write(file, file.name)
        yield target


def _check(folder: Path) -> None:
    if (folder / SPLITS).is_file():
        names = ", ".join(sorted(str(state.parent) for state in folder.glob(f"*/{STATE}")))
        raise ClientError(f"{folder} holds several splits; import one of them: {names}.")
    if not (folder / STATE).is_file():
        raise ClientError(f"{folder} is a folder that `datasets` has not saved (it has no {STATE}); name a file in it.")
