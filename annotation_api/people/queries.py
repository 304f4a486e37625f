"""What is asked of the tables about people."""

from __future__ import annotations

import uuid

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import ApiKey, Invitation, Person, Role


def person_by_email(session: Session, email: str) -> Person | None:
    return session.scalar(select(Person).where(Person.email == email.strip().lower()))


def has_active_admin(session: Session, *, besides: uuid.UUID | None = None) -> bool:
    admins = select(Person.id).where(Person.role == Role.ADMIN, Person.active)
    if besides is not None:
        admins = admins.where(Person.id != besides)
    return bool(session.scalar(select(exists(admins))))


def lock_admins(session: Session) -> None:
    """Admins change one at a time, so that two cannot retire each other."""
    session.execute(select(Person.id).where(Person.role == Role.ADMIN).order_by(Person.id).with_for_update())


def open_invitation(session: Session, token_hash: str, *, lock: bool = False) -> Invitation | None:
    """The invitation, if it is neither used nor expired; `lock` keeps a second taker waiting."""
    query = select(Invitation).where(
        Invitation.token_hash == token_hash, Invitation.used_by.is_(None), Invitation.expires_at > func.now()
    )
    return session.scalar(query.with_for_update() if lock else query)


def people() -> Select[Person]:
    return select(Person)


def keys_of(person: Person) -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.person_id == person.id)


def key_of(session: Session, person: Person, key_id: uuid.UUID) -> ApiKey | None:
    """The person's key; an admin finds anybody's."""
    key = session.get(ApiKey, key_id)
    return key if key and (key.person_id == person.id or person.role == Role.ADMIN) else None
