"""What a job of instructions has so far, a line a round, so that another attempt goes on from there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "rounds.jsonl"


class Rounds:
    """The rounds of earlier attempts, and those to come."""

    def __init__(self, folder: Path | None, earlier: Path | None) -> None:
        """`folder`: where this attempt writes; `earlier`: below it, at any depth, the longest file is gone on from."""
        self._path = folder / NAME if folder else None
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        found = max((earlier or self._path.parent).rglob(NAME), key=lambda path: path.stat().st_size, default=None)
        if found is not None and found != self._path:
            shutil.copyfile(found, self._path)
        self._cut()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._path is not None and self._path.exists():
            with self._path.open(encoding="utf-8") as file:
                yield from map(json.loads, file)

    def _cut(self) -> None:
        """Take off half a line that a death left."""
        assert self._path is not None
        if self._path.exists():
            data = self._path.read_bytes()
            with self._path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)

    def write(self, entry: dict[str, Any]) -> None:
        """The round is on the disk when this returns."""
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
