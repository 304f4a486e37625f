"""The rows that a snapshot is made of, streamed in an order that depends on the sources alone.

This file has the rows of imported files and of prompts; `judged_rows` has what people judged.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from alignment.shared.records import Answers, Candidates, Demonstration, Prompt, Ranking, Record, RuleVerdict
from annotation_api.db.tables import Dataset, DatasetKind, DatasetRow, PromptRow

BATCH = 50  # rows read at once; one may be of some megabytes

Stored = Demonstration | Ranking | Candidates | Prompt | Answers | RuleVerdict
HOLDS: dict[DatasetKind, type[Stored]] = {
    DatasetKind.DEMONSTRATIONS: Demonstration,
    DatasetKind.CONVERSATIONS: Demonstration,
    DatasetKind.PREFERENCES: Ranking,
    DatasetKind.RANKINGS: Ranking,
    DatasetKind.PROMPTS: Prompt,
    DatasetKind.RESPONSES: Candidates,
    DatasetKind.ANSWERS: Answers,
    DatasetKind.VERDICTS: RuleVerdict,
}
FROZEN_AS: dict[type[Record], DatasetKind] = {  # the kind of a snapshot of these
    Demonstration: DatasetKind.DEMONSTRATIONS,
    Ranking: DatasetKind.RANKINGS,
    Candidates: DatasetKind.RESPONSES,
    Prompt: DatasetKind.PROMPTS,
    Answers: DatasetKind.ANSWERS,
    RuleVerdict: DatasetKind.VERDICTS,
}
ORIGINAL = "original"  # in the lineage of a record that a preparation changed: its hash before
COLLECTED = frozenset({DatasetKind.ANSWERS, DatasetKind.VERDICTS})  # made here only, never imported


def kinds_of(record: type[Record]) -> frozenset[DatasetKind]:
    """The kinds of data that hold these records."""
    return frozenset(kind for kind, held in HOLDS.items() if held is record)


class FreezeError(Exception):
    """There is nothing to freeze, or it is of the wrong kind; the message says what to do."""

    @property
    def said(self) -> str:
        """The message with its code, if it has one."""
        words: str = self.args[0]
        return words


@dataclass(frozen=True)
class Frozen:
    """One line-to-be, and the row that it came from."""

    record: Stored
    submission_id: uuid.UUID | None = None
    dataset_id: uuid.UUID | None = None
    dataset_row: int | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """The columns of a snapshot row that say where it came from."""
        names = ("submission_id", "dataset_id", "dataset_row")
        return {name: getattr(self, name) for name in names}


def of_dataset(session: Session, dataset: Dataset) -> Iterator[Frozen]:
    """Every record of an imported file, in the file's order, with its place in the file as lineage."""
    rows = select(DatasetRow.row, DatasetRow.part, cast(DatasetRow.record, Text))
    rows = rows.where(DatasetRow.dataset_id == dataset.id, DatasetRow.erased_at.is_(None)).order_by(
        DatasetRow.row, DatasetRow.part
    )
    kind = HOLDS[dataset.kind]
    for row, part, stored in session.execute(rows.execution_options(yield_per=BATCH)):
        record = kind.from_line(stored)
        if not isinstance(record, Prompt):
            lineage = {"dataset": str(dataset.id), "row": str(row)} | ({"part": str(part)} if part else {})
            lineage |= {ORIGINAL: record.lineage[ORIGINAL]} if ORIGINAL in record.lineage else {}
            record = record.model_copy(update={"lineage": lineage})
        yield Frozen(record, dataset_id=dataset.id, dataset_row=row)


def prompts_of_project(session: Session, project_id: uuid.UUID, _choice: object) -> Iterator[Frozen]:
    """The prompts of a project, oldest first, whoever judged what."""
    rows = select(cast(PromptRow.record, Text)).where(PromptRow.project_id == project_id, PromptRow.erased_at.is_(None))
    rows = rows.order_by(PromptRow.created_at, PromptRow.key)
    for stored in session.scalars(rows.execution_options(yield_per=BATCH)):
        yield Frozen(Prompt.from_line(stored))


def prompts_once(rows: Iterable[Frozen]) -> Iterator[Frozen]:
    """The prompt of each row; of those that ask the same, the first."""
    seen: set[bytes] = set()
    for row in rows:
        prompt = row.record if isinstance(row.record, Prompt) else row.record.prompt
        key = bytes.fromhex(prompt.key)
        if key not in seen:
            seen.add(key)
            yield Frozen(prompt, row.submission_id, row.dataset_id, row.dataset_row)
