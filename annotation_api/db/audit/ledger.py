"""The audit's chain: each row is sealed by a hash over itself and the seal of the row before.

Rows are numbered from 1 without gaps, so that one which was taken out is missed. Only the newest rows can
vanish unseen in the database itself: the service notes each seal elsewhere, too (`audit.notes`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.records import canonical_json
from alignment.shared.sentence import Sentence
from annotation_api.db.locks import Lock
from annotation_api.db.sql import LIGHTLY, alone, one_row, rows
from annotation_api.db.tables import AuditOutcome, AuditRow

SEALED = ("person_id", "pseudonym", "action", "objects", "outcome", "request_id", "address")
BEGINNING = "0" * 64  # the seal before the first row
BATCH = 1000  # rows that are read at a time

# A statement of its own after the lock: what the transaction before added is seen only now.
ADD = """
INSERT INTO audit (seq, at, person_id, pseudonym, action, objects, outcome, request_id, address, sha256)
SELECT next.seq, next.at, %(person_id)s, %(pseudonym)s, %(action)s, %(objects)s::jsonb, %(outcome)s, %(request_id)s,
    %(address)s, encode(sha256(convert_to(concat_ws(
        E'\\n', next.before, next.seq, to_char(next.at AT TIME ZONE 'UTC', %(clock)s), %(canonical)s::text
    ), 'UTF8')), 'hex')
FROM (
    SELECT coalesce(max(last.seq), 0) + 1 AS seq, coalesce(max(last.sha256), %(beginning)s) AS before,
        clock_timestamp() AS at
    FROM (SELECT seq, sha256 FROM audit ORDER BY seq DESC LIMIT 1) AS last
) AS next
RETURNING seq, sha256
"""
CLOCK = 'YYYY-MM-DD"T"HH24:MI:SS.US'


@dataclass(frozen=True)
class Deed:
    """What somebody did, or tried to."""

    action: str
    outcome: AuditOutcome
    person_id: uuid.UUID | None
    pseudonym: str | None
    objects: Mapping[str, str]
    request_id: str
    address: str


class Noted(NamedTuple):
    """A row's number and its seal."""

    seq: int
    sha256: str


@dataclass(frozen=True)
class ChainCheck:
    """What walking the chain found: the newest row that holds, and the first that does not."""

    rows: int
    sha256: str
    broken: int | None = None
    reason: str | None = None


def append(session: Session, deed: Deed) -> Noted:
    """Add a row as the last deed of a transaction, whose commit will not wait for the disk: until it ends, others
    who add one wait."""
    rows(session, f"SELECT pg_advisory_xact_lock(%(key)s), {LIGHTLY}", key=Lock.AUDIT)
    objects, canonical = canonical_json(dict(deed.objects)), _canonical(vars(deed))
    values = {**vars(deed), "outcome": deed.outcome.value, "objects": objects, "canonical": canonical}
    added = one_row(session, ADD, **values, clock=CLOCK, beginning=BEGINNING)
    return Noted(int(added.seq), added.sha256)


def commit_with(session: Session, deed: Deed) -> Noted:
    """Commit the session's work together with a row that records it, which is returned.

    Others need not wait while the disk does: the commit itself does not, which lets the next one have the lock,
    and then a second one waits until all that was committed before it is on the disk.
    """
    row = append(session, deed)
    session.commit()
    alone(session, "SELECT pg_logical_emit_message(true, 'rankloop', '')")  # something to write: it is waited for
    return row


def seal(before: str, row: Mapping[str, Any]) -> str:
    """The hash of a row that follows the row with the seal `before`."""
    at = row["at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return hashlib.sha256(f"{before}\n{row['seq']}\n{at}\n{_canonical(row)}".encode()).hexdigest()


def _canonical(row: Mapping[str, Any]) -> str:
    return canonical_json({name: _plain(row[name]) for name in SEALED})


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value if value is None else str(value)


def verify(session: Session, *noted: Noted) -> ChainCheck:
    """Walk the chain from its beginning to the first row that is missing or does not match its seal.

    `noted` rows were seen earlier, and must be there still.
    """
    count, before, seen = 0, BEGINNING, dict(noted)
    for row in session.scalars(select(AuditRow).order_by(AuditRow.seq).execution_options(yield_per=BATCH)):
        if row.seq != count + 1:
            return ChainCheck(count, before, count + 1, Sentence("row-missing", "The row is missing."))
        if seal(before, vars(row)) != row.sha256:
            return ChainCheck(
                count, before, row.seq, Sentence("row-changed", "The row or the one before it was changed.")
            )
        if seen.get(row.seq, row.sha256) != row.sha256:
            return ChainCheck(count, before, row.seq, "The row has another seal than the one that was noted.")
        count, before = row.seq, row.sha256
    if (newest := max(seen, default=0)) > count:
        return ChainCheck(count, before, count + 1, f"The rows up to {newest}, which was noted, are missing.")
    return ChainCheck(count, before)
