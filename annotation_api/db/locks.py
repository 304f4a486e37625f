"""Locks of Postgres's that are of no row: their numbers; and who is locked in a session's transaction.

Advisory locks share one space of numbers in a database: two uses of one number stop each other. So the fixed ones
stand in `Lock` and nowhere else; those of a project, a job, a key or a model's path are 64 bits of what it is.
"""

from __future__ import annotations

import uuid
from enum import IntEnum, unique

from sqlalchemy.orm import Session

from annotation_api.db.sql import rows

LOCK_PERSON = "SELECT id FROM people WHERE id = %(person)s FOR NO KEY UPDATE"


@unique
class Lock(IntEnum):
    """Equal in every process of every version that shares a database; any number does, but a new one."""

    MIGRATION = 7_265_011  # one process migrates
    AUDIT = 7_265_012  # rows of the audit are added one after another
    FILES = 7_265_013  # shared by backups, taken alone by what removes artifacts
    FREEZING = 7_265_014  # shared by freezes and fills; an erasure waits for those that began before it
    # one at a time changes the sums of what was judged: a fold leaves it, counting a prompt anew waits
    TALLIES = 7_265_020


def lock_person(session: Session, person_id: uuid.UUID) -> None:
    """Hold the person's row until the transaction ends: one claim or judgement of a person at a time."""
    if session.info.get("locked") != (person_id, session.get_transaction()):
        rows(session, LOCK_PERSON, person=person_id)
        remember(session, person_id)


def let_erasures_wait(session: Session) -> None:
    """What this transaction reads before it is erased is stored before the erasure looks for it."""
    rows(session, "SELECT pg_advisory_xact_lock_shared(%(key)s)", key=Lock.FREEZING)


def freeze_alone(session: Session, source: uuid.UUID) -> None:
    """One freeze of a data set or project at a time: of several at once, the next finds the snapshot of the first."""
    rows(session, "SELECT pg_advisory_xact_lock(hashtextextended(%(source)s, 0))", source=f"freeze {source}")


def remember(session: Session, person_id: uuid.UUID) -> None:
    """This transaction holds the person's row."""
    session.info["locked"] = (person_id, session.get_transaction())
