"""Rows with tools, before a job reads them: how many there are, and whether the model's chat template speaks of tools.

The service renders no stranger's template; the stage does, row by row, and leaves out by name what its template drops.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.turns.tools import MARKS
from alignment.untrusted.files import UnsafeModel, read_limited
from alignment.untrusted.folder import most_bytes
from annotation_api.db.tables import SnapshotRow
from annotation_api.jobs.validation.validator import ValidatedJob

TEMPLATE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"


def notes(session: Session, job: ValidatedJob) -> list[str]:
    """What to know of tools in the job's data; nothing where it holds none, or no template reads it."""
    rule = getattr(job.config, "template_refusals", None)
    found = sum(_rows(session, key) for key in _snapshots(job.inputs)) if rule else 0
    if not found:
        return []
    folder = job.folders.get("model")
    if folder is not None and "tool" not in _template(folder):
        english = (
            "%(n)s rows hold tools, of which the model's chat template says nothing: template_refusals (%(rule)s) is "
            "what happens to them."
        )
        return [Sentence("tools-not-taken", english, n=found, rule=rule)]
    english = (
        "%(n)s rows hold tools: where the chat template leaves something of them out, template_refusals (%(rule)s) is "
        "what happens to the row."
    )
    return [Sentence("tools-in-rows", english, n=found, rule=rule)]


def _snapshots(inputs: Mapping[str, Any]) -> Iterator[uuid.UUID]:
    for given in inputs.values():
        if isinstance(given, dict) and "snapshot" in given:
            yield uuid.UUID(given["snapshot"])


def _rows(session: Session, snapshot: uuid.UUID) -> int:
    marked = or_(*(func.strpos(SnapshotRow.line, mark) > 0 for mark in MARKS))
    query = select(func.count()).select_from(SnapshotRow).where(SnapshotRow.snapshot_id == snapshot, marked)
    return session.scalar(query) or 0


def _template(folder: Path) -> str:
    """The text of the folder's chat templates; empty where it has none that can be read."""
    try:
        if (folder / TEMPLATE).exists():
            return read_limited(folder / TEMPLATE, most_bytes(TEMPLATE)).decode("utf-8", "replace")
        settings = json.loads(read_limited(folder / SETTINGS, most_bytes(SETTINGS)))
    except (OSError, ValueError, UnsafeModel):
        return ""
    return json.dumps(settings.get("chat_template", "")) if isinstance(settings, dict) else ""
