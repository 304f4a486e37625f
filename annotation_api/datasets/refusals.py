"""Why rows of an import by page were left out, kept beside the database for the data set's own page."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

from alignment.shared.sentence import joined, parts
from annotation_api.datasets.schemas import RowProblem

MOST = 1000


def keep(home: Path, dataset: uuid.UUID, problems: Sequence[RowProblem]) -> None:
    """Write the first MOST; nothing for none."""
    if not problems:
        return
    path = _path(home, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [problem.model_dump() | {"message": parts(problem.message)} for problem in problems[:MOST]]
    path.write_text(json.dumps(found, ensure_ascii=False), "utf-8")


def kept(home: Path, dataset: uuid.UUID) -> list[RowProblem]:
    """What was kept; empty for imports by other ways, whose report went to the caller."""
    try:
        found = json.loads(_path(home, dataset).read_text("utf-8"))
    except FileNotFoundError:
        return []
    return [RowProblem(**item | {"message": joined(item["message"])}) for item in found]


def _path(home: Path, dataset: uuid.UUID) -> Path:
    return home / "refused" / f"{dataset}.json"
