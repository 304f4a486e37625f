"""Removes files below the home that hold texts of erased data: what jobs that read them left beside the weights.

Which rows a report shows nobody wrote down, and it shows some cut short: so all pages, lists and logs of such a job
go. The model's own files stay and stay sound; its card says what happened.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from alignment.shared import artifact
from alignment.shared.records import canonical_json

ERASED = "## Erased"
UPLOAD = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.([0-9a-f]{64})|.*\.part")


def empty_folder(folder: Path) -> list[str]:
    """Remove a job's files with texts; their names. What `result.json` shows of them goes, too."""
    if not folder.is_dir():
        return []
    below = folder.rglob
    names = sorted({path.relative_to(folder).as_posix() for pattern in artifact.TEXTS for path in below(pattern)})
    result = folder / artifact.RESULT
    rewritten = {artifact.RESULT: without_samples(result.read_text("utf-8"))} if result.is_file() else {}
    artifact.erase(folder, names, rewritten)
    return names


def without_samples(text: str) -> str:
    record: dict[str, Any] = json.loads(text)
    details = {
        name: value for name, value in (record.get("details") or {}).items() if name not in ("samples", "examples")
    }
    return canonical_json(record | {"details": details}) + "\n"


def say_on_card(folder: Path, sentence: str) -> None:
    """The card of a model says that some of its data are gone."""
    card = folder / artifact.CARD
    if card.is_file() and (folder / artifact.MANIFEST).is_file():
        text = card.read_text("utf-8").partition(ERASED)[0].rstrip()
        artifact.erase(folder, (), {artifact.CARD: f"{text}\n\n{ERASED}\n\n{sentence}\n"})


def of_jobs(home: Path, jobs: Collection[uuid.UUID]) -> Iterator[Path]:
    """Folders and logs of jobs that hold nothing which is needed any more."""
    for job in map(str, jobs):
        yield home / "checkpoints" / job
        yield from (home / "logs").glob(f"{job}-*.log")
        yield from (home / "staging").glob(f"{job}-*")
        yield from (home / "mirrors").rglob(f"*{job}*")


def beside_data(home: Path, datasets: Collection[uuid.UUID]) -> Iterator[Path]:
    """What was refused of a file, in its words; and every upload that waits for its owner's second look."""
    yield from (home / "refused" / f"{dataset}.json" for dataset in datasets)
    yield from (path for path in (home / "uploads").glob("*") if UPLOAD.fullmatch(path.name))


def remove(paths: Sequence[Path]) -> int:
    """How many of them were there."""
    there = [path for path in paths if path.exists()]
    for path in there:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(there)
