"""Who is locked in a session's transaction, so that the same lock is not asked for twice."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from annotation_api.db.direct import rows

LOCK_PERSON = "SELECT id FROM people WHERE id = %(person)s FOR NO KEY UPDATE"


def lock_person(session: Session, person_id: uuid.UUID) -> None:
    """Hold the person's row until the transaction ends: one claim or judgement of a person at a time."""
    if session.info.get("locked") != (person_id, session.get_transaction()):
        rows(session, LOCK_PERSON, person=person_id)
        remember(session, person_id)


def remember(session: Session, person_id: uuid.UUID) -> None:
    """This transaction holds the person's row."""
    session.info["locked"] = (person_id, session.get_transaction())
