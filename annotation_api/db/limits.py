"""Limits that all API processes share: counters in Postgres, on its clock.

A window begins with the first use and ends after its seconds; then the count begins anew. One statement
counts against several limits at once. Tries at something secret have no window: each is remembered for a while and,
beyond the free ones, makes the next one wait. Where the clock jumped, a count that ends later than any can is over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotation_api.db.sql import LIGHTLY, one_row, rows

# A window that ends later than one which began now, by more than anybody waits for a lock, began before a clock jumped.
RUNS = "c.ends_at > clock_timestamp() AND c.ends_at < EXCLUDED.ends_at + interval '1 minute'"
# In the order of the keys, so that two which count the same never wait for each other.
COUNT = f"""
INSERT INTO rate_counters AS c (key, spent, ends_at)
SELECT u.key, u.amount, clock_timestamp() + u.seconds * interval '1 second'
FROM unnest(%(keys)s::text[], %(amounts)s::bigint[], %(seconds)s::int[]) AS u (key, amount, seconds) ORDER BY u.key
ON CONFLICT (key) DO UPDATE SET
    spent = CASE WHEN {RUNS} THEN c.spent + EXCLUDED.spent ELSE EXCLUDED.spent END,
    ends_at = CASE WHEN {RUNS} THEN c.ends_at ELSE EXCLUDED.ends_at END
RETURNING key, spent, extract(epoch FROM ends_at - clock_timestamp()) AS wait, {LIGHTLY}
"""
GIVE_BACK = """
UPDATE rate_counters SET spent = greatest(spent - 1, 0) WHERE key = ANY (%(keys)s) AND ends_at > clock_timestamp()
RETURNING key
"""
# What is left to wait: the last try was `life` before its end.
LEFT = """
c.ends_at - %(life)s * interval '1 second' - clock_timestamp() + interval '1 second' * CASE
    WHEN c.spent < %(free)s THEN 0
    ELSE least(%(longest)s, %(first)s * power(2.0, least(c.spent - %(free)s, 30)))
END
"""
TRY = f"""
INSERT INTO rate_counters AS c (key, spent, ends_at)
VALUES (%(key)s, 1, clock_timestamp() + %(life)s * interval '1 second')
ON CONFLICT (key) DO UPDATE SET spent = CASE WHEN {RUNS} THEN c.spent + 1 ELSE 1 END, ends_at = EXCLUDED.ends_at
WHERE NOT ({RUNS}) OR {LEFT} <= interval '0'
RETURNING spent, {LIGHTLY}
"""
WAIT = f"SELECT extract(epoch FROM {LEFT}) AS wait FROM rate_counters c WHERE key = %(key)s"
FORGET = "DELETE FROM rate_counters WHERE key = %(key)s RETURNING key"
FORGET_ALL = "DELETE FROM rate_counters WHERE starts_with(key, %(beginning)s) RETURNING key"
TRIED = "SELECT coalesce(sum(spent), 0)::bigint AS tries FROM rate_counters WHERE starts_with(key, %(beginning)s)"
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
class Tries:
    """Tries at what the key names: `free` at any pace; from then on each makes the next wait, twice as long as it had
    to itself, from `first` to `longest` seconds. All are forgotten `life` seconds after the last."""

    key: str
    free: int = 5
    first: int = 10
    longest: int = 15 * 60
    life: int = 24 * 3600


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


def attempt(session: Session, tries: Sequence[Tries]) -> int | None:
    """Count a try against all and commit at once; or against none, and the seconds until it may be made."""
    for one in sorted(tries, key=lambda one: one.key):
        if not rows(session, TRY, **vars(one)):
            wait = float(one_row(session, WAIT, **vars(one)).wait)
            session.rollback()
            return max(1, math.ceil(wait))
    rows(session, CLEAR)
    session.commit()
    return None


def give_back(session: Session, keys: Sequence[str]) -> None:
    """Take one use back from each count."""
    rows(session, GIVE_BACK, keys=sorted(keys))


def forget(session: Session, key: str) -> None:
    """Begin a count anew."""
    rows(session, FORGET, key=key)


def forget_all(session: Session, beginning: str) -> int:
    """Begin anew all counts whose key begins so; how many there were."""
    return len(rows(session, FORGET_ALL, beginning=beginning))


def tried(session: Session, beginning: str) -> int:
    """What is counted under all keys that begin so."""
    return int(one_row(session, TRIED, beginning=beginning).tries)
