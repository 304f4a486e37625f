"""What is asked of the tables about people."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, delete, exists, func, select
from sqlalchemy.orm import Session

from annotation_api.db.locks import lock_person
from annotation_api.db.tables import (
    ApiKey,
    IdempotencyKey,
    Invitation,
    LoginSession,
    PasswordReset,
    Person,
    RecoveryCode,
    Role,
)


def person_by_email(session: Session, email: str) -> Person | None:
    return session.scalar(select(Person).where(Person.email == email.strip().lower()))


def has_active_admin(session: Session, *, besides: uuid.UUID | None = None) -> bool:
    admins = select(Person.id).where(Person.role == Role.ADMIN, Person.active)
    if besides is not None:
        admins = admins.where(Person.id != besides)
    return bool(session.scalar(select(exists(admins))))


def lock_admins(session: Session) -> None:
    """Admins change one at a time, so that two cannot retire each other; what they make meanwhile need not wait."""
    admins = select(Person.id).where(Person.role == Role.ADMIN).order_by(Person.id)
    session.execute(admins.with_for_update(key_share=True))


def is_open() -> ColumnElement[bool]:
    return Invitation.used_by.is_(None) & (Invitation.expires_at > func.now())


def open_invitations(session: Session) -> Sequence[Invitation]:
    """Links that still work, newest first."""
    return session.scalars(select(Invitation).where(is_open()).order_by(Invitation.created_at.desc())).all()


def open_invitation(session: Session, token_hash: str, *, lock: bool = False) -> Invitation | None:
    """The invitation, if it is neither used nor expired; `lock` keeps a second taker waiting."""
    query = select(Invitation).where(Invitation.token_hash == token_hash, is_open())
    return session.scalar(query.with_for_update() if lock else query)


def person_of_reset(session: Session, token_hash: str, *, lock: bool = False) -> Person | None:
    """Whose password a link that still works sets; `lock` holds them, and keeps a second taker waiting."""
    good = (PasswordReset.token_hash == token_hash) & (PasswordReset.expires_at > func.now())
    query = select(PasswordReset.person_id).where(good)
    found = session.scalar(query)
    if found is not None and lock:
        lock_person(session, found)
        found = session.scalar(query)  # who waited asks again
    person = session.get(Person, found, populate_existing=lock) if found else None
    return person if person and person.active else None


def people() -> Select[Person]:
    return select(Person)


def found_by(words: str, most: int) -> Select[Person]:
    """The first `most` people, the active ones first, whose name, address or pseudonym holds the words."""
    shown = func.lower(func.concat_ws(" ", Person.name, Person.email, Person.pseudonym))
    query = people().where(func.strpos(shown, func.lower(words.strip())) > 0)
    return query.order_by(Person.active.desc(), func.lower(Person.name), Person.id).limit(most)


def keys_of(person: Person) -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.person_id == person.id)


def live_keys(session: Session, person: Person) -> Sequence[ApiKey]:
    """Those that still work."""
    alive = ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    return session.scalars(keys_of(person).where(alive).order_by(ApiKey.created_at.desc())).all()


def key_of(session: Session, person: Person, key_id: uuid.UUID) -> ApiKey | None:
    """The person's key; an admin finds anybody's."""
    key = session.get(ApiKey, key_id)
    return key if key and (key.person_id == person.id or person.role == Role.ADMIN) else None


def drop_access(session: Session, person: Person) -> None:
    """Remove the person's sessions, keys and kept answers; work is in other tables and stays."""
    for table in (LoginSession, ApiKey, IdempotencyKey, RecoveryCode, PasswordReset):
        session.execute(delete(table).where(table.person_id == person.id))
