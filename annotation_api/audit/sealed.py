"""The audit in files: whole segments of rows below RANKLOOP_HOME/audit, chained by the rows' seals.

Rows are never removed from the database. The files are a second copy, to be kept elsewhere, that needs no database to
be checked; a file's name has its last row and that row's seal, which vouches for all before it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.records import canonical_json
from alignment.shared.sentence import Sentence
from annotation_api.db.audit.ledger import BEGINNING, SEALED, ChainCheck, Noted, seal
from annotation_api.db.audit.notes import FOLDER
from annotation_api.db.tables import AuditRow

SEGMENT = 10_000  # rows of a file
NAME = re.compile(r"rows-(\d{12})-([0-9a-f]{64})\.jsonl\.gz")


def ends(home: Path) -> list[Noted]:
    """The last row of each file, oldest first."""
    found = (NAME.fullmatch(path.name) for path in (home / FOLDER).glob("rows-*"))
    return sorted(Noted(int(match[1]), match[2]) for match in found if match)


def write(session: Session, home: Path) -> int:
    """Write what is not in a file yet, in whole segments; how many files that made."""
    (home / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    last, made = max(ends(home), default=Noted(0, BEGINNING)).seq, 0
    while len(rows := _after(session, last)) == SEGMENT:
        _write(home / FOLDER, rows)
        last, made = rows[-1].seq, made + 1
    return made


def _after(session: Session, seq: int) -> list[AuditRow]:
    return list(session.scalars(select(AuditRow).where(AuditRow.seq > seq).order_by(AuditRow.seq).limit(SEGMENT)))


def _write(folder: Path, rows: list[AuditRow]) -> None:
    """Whole or not at all; for the owner's eyes."""
    part = folder / "rows.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with gzip.open(file, "wt", encoding="utf-8") as lines:
            lines.writelines(f"{_line(row)}\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / f"rows-{rows[-1].seq:012}-{rows[-1].sha256}.jsonl.gz")


def _line(row: AuditRow) -> str:
    held: dict[str, Any] = {name: getattr(row, name) for name in SEALED}
    held |= {"person_id": str(row.person_id) if row.person_id else None, "outcome": row.outcome.value}
    return canonical_json({**held, "seq": row.seq, "at": row.at.isoformat(), "sha256": row.sha256})


def check(home: Path) -> ChainCheck:
    """Walk all files from the first row; the first row that is missing or does not match its seal."""
    held = Noted(0, BEGINNING)
    for end in ends(home):
        try:
            for row in _read(home / FOLDER / f"rows-{end.seq:012}-{end.sha256}.jsonl.gz"):
                if fault := _fault(held, row):
                    return ChainCheck(*held, held.seq + 1, fault)
                held = Noted(row["seq"], row["sha256"])
        except (ValueError, KeyError, EOFError, OSError) as error:
            return ChainCheck(*held, held.seq + 1, f"The file cannot be read: {error}")
        if held != end:
            return ChainCheck(*held, held.seq + 1, "The file does not end with the row that its name says.")
    return ChainCheck(*held)


def _fault(before: Noted, row: dict[str, Any]) -> str | None:
    if row["seq"] != before.seq + 1:
        return Sentence("row-missing", "The row is missing.")
    return (
        None
        if seal(before.sha256, row) == row["sha256"]
        else Sentence("row-changed", "The row or the one before it was changed.")
    )


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row | {"at": datetime.fromisoformat(row["at"])}
