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
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Interval, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from annotation_api.db import locks
from annotation_api.db.sql import one_row, rows
from annotation_api.db.tables import ApiKey, LoginSession, Person, Role

SESSION_LIFE = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=5)  # how exactly it is known when a session was used last
KEY_TAG = "rl"
NO_PASSWORD = "!"  # verifies against nothing: a person who only has API keys

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_decoy = _hasher.hash(secrets.token_urlsafe(16))


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """True if it is the password. Takes as long when there is no such person, or none with a password."""
    has_one = stored is not None and stored != NO_PASSWORD
    try:
        return _hasher.verify(stored if stored is not None and has_one else _decoy, password) and has_one
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
    over = select(LoginSession.token_hash).where(LoginSession.expires_at < func.now())
    gone = LoginSession.token_hash.in_(over.with_for_update(skip_locked=True))
    session.execute(delete(LoginSession).where(gone), execution_options={"synchronize_session": False})
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


def person_of_session(session: Session, token: str, idle: timedelta = SESSION_LIFE) -> Person | None:
    """The active person of a live session that did not rest for longer than `idle`."""
    digest = hash_token(token)
    row = session.execute(_BY_SESSION, {"digest": digest, "idle": idle}).one_or_none()
    if row is None or not hmac.compare_digest(row[0], digest):
        return None
    if row.stale:  # stored at once: who holds the sign-in's row must not wait for the person's, as others take them
        session.execute(_SEEN, {"digest": digest})
        session.commit()
    return row[1]


@dataclass(frozen=True)
class Key:
    """A good key, as far as a request needs to know."""

    id: uuid.UUID
    scopes: frozenset[str] | None  # None: everything
    expires_at: datetime | None


def holder_of_key(session: Session, key: str) -> tuple[Person, Key] | None:
    """The active person of a key that is neither revoked nor expired, and the key."""
    digest = hash_token(key)
    row = session.execute(_BY_KEY, {"digest": digest}).one_or_none()
    if row is None or not hmac.compare_digest(row.key_hash, digest):
        return None
    return row.Person, Key(row.id, scopes_of(row.scopes), row.expires_at)


def person_of_key(session: Session, key: str) -> Person | None:
    found = holder_of_key(session, key)
    return found[0] if found else None


def scopes_of(stored: list[str] | None) -> frozenset[str] | None:
    return None if stored is None else frozenset(stored)


# Built once: to build a statement takes longer than to send it.
_BY_SESSION = (
    select(LoginSession.token_hash, Person, (LoginSession.seen_at < func.now() - SEEN_EVERY).label("stale"))
    .join(Person, Person.id == LoginSession.person_id)
    .where(
        LoginSession.token_hash == bindparam("digest"),
        LoginSession.expires_at > func.now(),
        LoginSession.seen_at > func.now() - bindparam("idle", type_=Interval),
        Person.active,
    )
)
_SEEN = update(LoginSession).where(LoginSession.token_hash == bindparam("digest")).values(seen_at=func.now())
_BY_KEY = (
    select(ApiKey.key_hash, ApiKey.id, ApiKey.scopes, ApiKey.expires_at, Person)
    .join(Person, Person.id == ApiKey.person_id)
    .where(
        ApiKey.key_hash == bindparam("digest"),
        ApiKey.revoked_at.is_(None),
        (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > func.now()),
        Person.active,
    )
)


@dataclass(frozen=True)
class Caller:
    """Who claims or judges: a person, as far as that needs to know."""

    id: uuid.UUID
    role: Role
    pseudonym: str
    second_factor_at: datetime | None = None
    key: Key | None = None  # with which it calls; None: a cookie


Someone = Person | Caller

# As `person_of_session` and `person_of_key`, and the person's row is locked until the transaction ends.
LOCK_BY_SESSION = """
SELECT s.token_hash AS digest, p.id, p.role, p.pseudonym, p.second_factor_at,
    s.seen_at < now() - %(every)s::interval AS stale
FROM login_sessions s JOIN people p ON p.id = s.person_id
WHERE s.token_hash = %(digest)s AND s.expires_at > now() AND s.seen_at > now() - %(idle)s::interval AND p.active
FOR NO KEY UPDATE OF p
"""
SEEN = "UPDATE login_sessions SET seen_at = now() WHERE token_hash = %(digest)s RETURNING token_hash"
LOCK_BY_KEY = """
SELECT k.key_hash AS digest, p.id, p.role, p.pseudonym, p.second_factor_at, k.id AS key, k.scopes, k.expires_at
FROM api_keys k JOIN people p ON p.id = k.person_id
WHERE k.key_hash = %(digest)s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND p.active
FOR NO KEY UPDATE OF p
"""


def lock_caller(
    session: Session, *, key: str | None, token: str | None, idle: timedelta = SESSION_LIFE
) -> Caller | None:
    """The active person of an API key or else of a cookie, alone: others of the person's claims wait."""
    if key is not None:
        return _locked(session, LOCK_BY_KEY, key)
    return None if token is None else _locked(session, LOCK_BY_SESSION, token, idle=idle, every=SEEN_EVERY)


def _locked(session: Session, statement: str, secret: str, **values: timedelta) -> Caller | None:
    digest = hash_token(secret)
    row = one_row(session, statement, digest=digest, **values)
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    locks.remember(session, row.id)
    if values and row.stale:
        rows(session, SEEN, digest=digest)
    key = None if values else Key(row.key, scopes_of(row.scopes), row.expires_at)
    return Caller(row.id, Role(row.role), row.pseudonym, row.second_factor_at, key)
