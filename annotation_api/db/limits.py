"""Limits that all API processes share: counters in Postgres, on its clock.

A window begins with the first use and ends after its seconds; then the count begins anew. One statement
counts against several limits at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotation_api.db.direct import LIGHTLY, rows

# In the order of the keys, so that two which count the same never wait for each other.
COUNT = f"""
INSERT INTO rate_counters AS c (key, spent, ends_at)
SELECT u.key, u.amount, clock_timestamp() + u.seconds * interval '1 second'
FROM unnest(%(keys)s::text[], %(amounts)s::bigint[], %(seconds)s::int[]) AS u (key, amount, seconds) ORDER BY u.key
ON CONFLICT (key) DO UPDATE SET
    spent = CASE WHEN c.ends_at > clock_timestamp() THEN c.spent + EXCLUDED.spent ELSE EXCLUDED.spent END,
    ends_at = CASE WHEN c.ends_at > clock_timestamp() THEN c.ends_at ELSE EXCLUDED.ends_at END
RETURNING key, spent, extract(epoch FROM ends_at - clock_timestamp()) AS wait, {LIGHTLY}
"""
GIVE_BACK = """
UPDATE rate_counters SET spent = greatest(spent - 1, 0) WHERE key = ANY (%(keys)s) AND ends_at > clock_timestamp()
RETURNING key
"""
FORGET = "DELETE FROM rate_counters WHERE key = %(key)s RETURNING key"
CLEAR = """
DELETE FROM rate_counters WHERE key IN (
    SELECT key FROM rate_counters WHERE ends_at < clock_timestamp() LIMIT 100 FOR UPDATE SKIP LOCKED
) RETURNING key
"""


@dataclass(frozen=True)
class Use:
    """`amount` of something, of which `most` may be used within `seconds` by whom the key names."""

    key: str
    most: int
    seconds: int
    amount: int = 1


@dataclass(frozen=True)
class Exceeded:
    """The limit that a use goes beyond, and the seconds until it may be used anew."""

    use: Use
    wait: int


def hidden(*parts: str) -> str:
    """A key that does not show what it is of: addresses and names need not be kept."""
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()


def spend(session: Session, uses: Sequence[Use]) -> Exceeded | None:
    """Count all uses and commit at once, so that nobody waits for the work; or none, if one goes beyond its limit."""
    by_key = {use.key: use for use in uses}
    counted = rows(
        session,
        COUNT,
        keys=list(by_key),
        amounts=[use.amount for use in by_key.values()],
        seconds=[use.seconds for use in by_key.values()],
    )
    beyond = [Exceeded(by_key[row.key], max(1, math.ceil(row.wait))) for row in counted]
    beyond = [found for found, row in zip(beyond, counted, strict=True) if row.spent > found.use.most]
    if beyond:
        session.rollback()
        return max(beyond, key=lambda found: found.wait)
    if any(row.spent == by_key[row.key].amount for row in counted):  # a window begins: only these leave a row behind
        rows(session, CLEAR)
    session.commit()
    return None


def forget(session: Session, key: str, others: Sequence[str] = ()) -> None:
    """Begin one count anew, and take one back from the others."""
    rows(session, FORGET, key=key)
    rows(session, GIVE_BACK, keys=sorted(others))
