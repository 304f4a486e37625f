"""API keys: made in a session, by means of another key or on the machine; what one's end ends, too."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.tables import ApiKey, MadeFrom, Person
from annotation_api.http import auth
from annotation_api.http.auth import Key
from annotation_api.http.errors import invalid, not_found
from annotation_api.http.key_scopes import in_words
from annotation_api.people import queries
from annotation_api.people.schemas import NewApiKey


def add_api_key(
    session: Session, person: Person, new: NewApiKey, made_from: MadeFrom = MadeFrom.MACHINE, parent: Key | None = None
) -> tuple[ApiKey, str]:
    """The key's row and the key itself, which is not stored. With a `parent` it can do no more and lives no longer."""
    secret, prefix = auth.new_api_key()
    ends = func.now() + timedelta(days=new.expires_in_days)
    key = ApiKey(
        person_id=person.id,
        name=new.name,
        prefix=prefix,
        key_hash=auth.hash_token(secret),
        scopes=_scopes(new, parent),
        made_from=made_from,
        parent_id=parent.id if parent else None,
        expires_at=func.least(ends, parent.expires_at) if parent and parent.expires_at else ends,
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    return key, secret


def _scopes(new: NewApiKey, parent: Key | None) -> list[str] | None:
    wanted = None if new.scopes is None else frozenset(new.scopes)
    allowed = parent.scopes if parent else None
    if allowed is not None and wanted is not None and wanted - allowed:
        message = Sentence(
            "key-has-only", "The key that you call with has only: %(allowed)s.", allowed=in_words(allowed)
        )
        raise invalid([Problem(pointer="/scopes", message=message, value=in_words(wanted - allowed))])
    found = allowed if wanted is None else wanted
    return None if found is None else sorted(str(scope) for scope in found)


def find(session: Session, person: Person, key_id: uuid.UUID) -> ApiKey:
    key = queries.key_of(session, person, key_id)
    if key is None:
        raise not_found("API key", key_id)
    return key


def revoke(session: Session, person: Person, key_id: uuid.UUID) -> None:
    """End the key and those that were made by means of it; ending it twice is the same."""
    _end(session, ApiKey.id == find(session, person, key_id).id)


def revoke_all(session: Session, person: Person, made_from: MadeFrom | None = None) -> None:
    """End the person's keys, or those that were made in this way and what was made by means of them."""
    how = ApiKey.made_from == made_from if made_from else ApiKey.id.is_not(None)
    _end(session, (ApiKey.person_id == person.id) & how)


def _end(session: Session, which: ColumnElement[bool]) -> None:
    line = select(ApiKey.id).where(which).cte("line", recursive=True)
    children = select(ApiKey.id).join(line, ApiKey.parent_id == line.c.id)
    line = line.union(children)
    ended = update(ApiKey).where(ApiKey.id.in_(select(line.c.id)), ApiKey.revoked_at.is_(None))
    session.execute(ended.values(revoked_at=func.now()), execution_options={"synchronize_session": "fetch"})
