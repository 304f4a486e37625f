"""A folder that `datasets` saved (`save_to_disk`), packed as a zip: its Arrow shards one after another."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import PurePosixPath
from typing import IO, Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Unreadable

STATE = "state.json"  # beside the shards of each split: which they are, in their order
LARGEST_STATE = 2**22  # bytes


def shards(archive: zipfile.ZipFile) -> IO[bytes] | None:
    """The rows of the one split that the archive holds; None for an archive of another kind."""
    states = [item for item in archive.infolist() if PurePosixPath(item.filename).name == STATE]
    if not states:
        return None
    if len(states) > 1:
        names = ", ".join(PurePosixPath(item.filename).parent.name for item in states[:6])
        raise Unreadable(
            0,
            Sentence(
                "folder-splits", "the folder holds several splits (%(names)s); import them one by one", names=names
            ),
        )
    return io.BufferedReader(_Joined(archive, _names(archive, states[0])))


def _names(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> list[str]:
    if item.file_size > LARGEST_STATE:
        raise Unreadable(
            0,
            Sentence("larger-than-written", "%(filename)s is larger than `datasets` writes it", filename=item.filename),
        )
    try:
        state = json.loads(archive.read(item))
        names = [str(PurePosixPath(item.filename).parent / part["filename"]) for part in state["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unreadable(
            0,
            Sentence(
                "names-no-files",
                "%(filename)s does not name the files of a data set as `datasets` writes it",
                filename=item.filename,
            ),
        ) from None
    if state.get("_indices_data_files"):
        raise Unreadable(
            0,
            Sentence(
                "folder-selection",
                "the folder holds a selection beside its rows; call flatten_indices(), then save it again",
            ),
        )
    missing = [name for name in names if name not in archive.namelist()]
    if missing or not names:
        raise Unreadable(
            0,
            Sentence(
                "folder-lacks",
                "the folder lacks %(missing)s; copy it again",
                missing=", ".join(missing[:3]) or "its rows",
            ),
        )
    return names


class _Joined(io.RawIOBase):
    """Members of an archive as one stream."""

    def __init__(self, archive: zipfile.ZipFile, names: list[str]) -> None:
        self._archive, self._left = archive, list(names)
        self._member: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._member or self._left:
            self._member = self._member or self._archive.open(self._left.pop(0))
            if data := self._member.read(len(buffer)):
                buffer[: len(data)] = data
                return len(data)
            self._member = None
        return 0
