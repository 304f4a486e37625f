"""The audit's chain: each row is sealed by a hash over itself and the seal of the row before.

Rows are numbered from 1 without gaps, so that one which was taken out is missed. Only the newest rows can
vanish unseen: note the head that `verify` gives somewhere else, and ask for it later.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.records import canonical_json
from annotation_api.db.direct import one_row, rows
from annotation_api.db.tables import AuditOutcome, AuditRow

LOCK = 7_265_012  # any number; equal in every process, so that rows are added one after another
SEALED = ("seq", "at", "person_id", "pseudonym", "action", "objects", "outcome", "request_id", "address")
BEGINNING = "0" * 64  # the seal before the first row
BATCH = 1000  # rows that are read at a time

# In a statement of its own after the lock: what the transaction before added is seen only now.
LAST = """
SELECT clock_timestamp() AS at, last.seq, last.sha256
FROM (VALUES (1)) AS one LEFT JOIN (SELECT seq, sha256 FROM audit ORDER BY seq DESC LIMIT 1) AS last ON true
"""
ADD = """
INSERT INTO audit (seq, at, person_id, pseudonym, action, objects, outcome, request_id, address, sha256)
VALUES (%(seq)s, %(at)s, %(person_id)s, %(pseudonym)s, %(action)s, %(written)s::jsonb, %(outcome)s, %(request_id)s,
        %(address)s, %(sha256)s)
RETURNING seq
"""


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


@dataclass(frozen=True)
class Verdict:
    """What walking the chain found: the newest row that holds, and the first that does not."""

    rows: int
    sha256: str
    broken: int | None = None
    reason: str | None = None


def append(session: Session, deed: Deed) -> int:
    """Add a row as the last deed of a transaction: until it ends, others who add one wait."""
    rows(session, "SELECT pg_advisory_xact_lock(%(key)s)", key=LOCK)
    last = one_row(session, LAST)
    values: dict[str, Any] = {**vars(deed), "outcome": deed.outcome.value, "seq": (last.seq or 0) + 1, "at": last.at}
    sealed = seal(last.sha256 or BEGINNING, values)
    added = one_row(session, ADD, **values, written=canonical_json(dict(deed.objects)), sha256=sealed)
    return int(added.seq)


def seal(before: str, row: Mapping[str, Any]) -> str:
    """The hash of a row that follows the row with the seal `before`."""
    canonical = canonical_json({name: _plain(row[name]) for name in SEALED})
    return hashlib.sha256(f"{before}\n{canonical}".encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, int) else str(value)


def verify(session: Session, noted: tuple[int, str] | None = None) -> Verdict:
    """Walk the chain from its beginning to the first row that is missing or does not match its seal.

    `noted` is the number and seal of a row that was seen earlier, and must be there still.
    """
    count, before = 0, BEGINNING
    for row in session.scalars(select(AuditRow).order_by(AuditRow.seq).execution_options(yield_per=BATCH)):
        if row.seq != count + 1:
            return Verdict(count, before, count + 1, "The row is missing.")
        if seal(before, vars(row)) != row.sha256:
            return Verdict(count, before, row.seq, "The row or the one before it was changed.")
        if noted is not None and noted[0] == row.seq and noted[1] != row.sha256:
            return Verdict(count, before, row.seq, "The row has another seal than the one that was noted.")
        count, before = row.seq, row.sha256
    if noted is not None and noted[0] > count:
        return Verdict(count, before, count + 1, f"The rows up to {noted[0]}, which was noted, are missing.")
    return Verdict(count, before)
