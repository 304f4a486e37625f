"""Who is calling: passwords (Argon2id), sessions and API keys. Only hashes of tokens are stored.

Tokens carry 256 random bits, so a plain SHA-256 hides them; passwords do not, so they get Argon2id
(19 MiB, 2 passes, 1 lane: OWASP's floor).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Select, bindparam, delete, func, select
from sqlalchemy.orm import Session

from annotation_api.db import locks
from annotation_api.db.direct import one_row
from annotation_api.db.tables import ApiKey, LoginSession, Person, Role

SESSION_LIFE = timedelta(days=7)
KEY_TAG = "rl"
NO_PASSWORD = "!"  # verifies against nothing: a person who only has API keys

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_decoy = _hasher.hash(secrets.token_urlsafe(16))


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """True if it is the password. Takes as long when there is no such person."""
    try:
        return _hasher.verify(stored or _decoy, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_api_key() -> tuple[str, str]:
    """A key `rl_<prefix>_<secret>` and its prefix, by which people tell keys apart."""
    prefix = secrets.token_hex(4)
    return f"{KEY_TAG}_{prefix}_{new_token()}", prefix


def start_session(session: Session, person: Person) -> str:
    """Sign the person in; returns the token for the cookie. Ended sessions are cleared on the way."""
    session.execute(delete(LoginSession).where(LoginSession.expires_at < func.now()))
    token = new_token()
    session.add(
        LoginSession(token_hash=hash_token(token), person_id=person.id, expires_at=func.now() + SESSION_LIFE),
    )
    session.flush()
    return token


def end_session(session: Session, token: str) -> None:
    session.execute(delete(LoginSession).where(LoginSession.token_hash == hash_token(token)))


def end_all_sessions(session: Session, person: Person) -> None:
    session.execute(delete(LoginSession).where(LoginSession.person_id == person.id))


def person_of_session(session: Session, token: str) -> Person | None:
    """The active person of a live session."""
    return _holder(session, _BY_SESSION, token)


def person_of_key(session: Session, key: str) -> Person | None:
    """The active person of a key that is neither revoked nor expired."""
    return _holder(session, _BY_KEY, key)


# Built once: to build a statement takes longer than to send it.
_BY_SESSION = (
    select(LoginSession.token_hash, Person)
    .join(Person, Person.id == LoginSession.person_id)
    .where(LoginSession.token_hash == bindparam("digest"), LoginSession.expires_at > func.now(), Person.active)
)
_BY_KEY = (
    select(ApiKey.key_hash, Person)
    .join(Person, Person.id == ApiKey.person_id)
    .where(
        ApiKey.key_hash == bindparam("digest"),
        ApiKey.revoked_at.is_(None),
        (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > func.now()),
        Person.active,
    )
)


def _holder(session: Session, statement: Select[str, Person], secret: str) -> Person | None:
    digest = hash_token(secret)
    row = session.execute(statement, {"digest": digest}).one_or_none()
    return row[1] if row and hmac.compare_digest(row[0], digest) else None


@dataclass(frozen=True)
class Caller:
    """Who claims or judges: a person, as far as that needs to know."""

    id: uuid.UUID
    role: Role
    pseudonym: str


Someone = Person | Caller

# As `person_of_session` and `person_of_key`, and the person's row is locked until the transaction ends.
LOCK_BY_SESSION = """
SELECT s.token_hash AS digest, p.id, p.role, p.pseudonym
FROM login_sessions s JOIN people p ON p.id = s.person_id
WHERE s.token_hash = %(digest)s AND s.expires_at > now() AND p.active FOR NO KEY UPDATE OF p
"""
LOCK_BY_KEY = """
SELECT k.key_hash AS digest, p.id, p.role, p.pseudonym
FROM api_keys k JOIN people p ON p.id = k.person_id
WHERE k.key_hash = %(digest)s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND p.active
FOR NO KEY UPDATE OF p
"""


def lock_caller(session: Session, *, key: str | None, token: str | None) -> Caller | None:
    """The active person of an API key or else of a cookie, alone: others of the person's claims wait."""
    secret = key if key is not None else token
    if secret is None:
        return None
    digest = hash_token(secret)
    row = one_row(session, LOCK_BY_SESSION if key is None else LOCK_BY_KEY, digest=digest)
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    locks.remember(session, row.id)
    return Caller(row.id, Role(row.role), row.pseudonym)
