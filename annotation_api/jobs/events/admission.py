"""Who was let in to watch a job, and whether they still are: asked again while the stream is open."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

from fastapi import Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.membership import see_as
from annotation_api.db.tables import ApiKey, Job, LoginSession, Person, Role
from annotation_api.http.auth import Key, hash_token
from annotation_api.http.dependencies import cookie_name
from annotation_api.http.scopes import KEY
from annotation_api.settings import Settings


@dataclass(frozen=True)
class LetIn:
    """A person as they were when the stream began, and with what they came."""

    person: uuid.UUID
    role: Role = Role.ADMIN
    key: uuid.UUID | None = None
    login: str | None = None  # the hash of the cookie's token

    @classmethod
    def of(cls, request: Request, me: Person, settings: Settings) -> LetIn:
        key: Key | None = request.scope.get(KEY)
        token = request.cookies.get(cookie_name(settings))
        if key is not None or token is None:
            return cls(me.id, me.role, key.id if key else None)
        return cls(me.id, me.role, login=hash_token(token))


Watch = tuple[LetIn, uuid.UUID]  # and the job


def unwelcome(session: Session, watches: Collection[Watch]) -> set[Watch]:
    """Those who would not be let in any more as they were: retired, of another role, with a key that is revoked or a
    session that has ended, or no member of the project that the job belongs to."""
    people = {who for who, _ in watches}
    out = _changed(session, people) | _without_key(session, people) | _signed_out(session, people)
    rest = [watch for watch in watches if watch[0] not in out]
    return {watch for watch in watches if watch[0] in out} | _not_seen(session, rest)


def _changed(session: Session, people: Collection[LetIn]) -> set[LetIn]:
    found = select(Person.id, Person.role, Person.active).where(Person.id.in_({who.person for who in people}))
    now = {row.id: row.role if row.active else None for row in session.execute(found)}
    return {who for who in people if now.get(who.person, who.role) is not who.role}


def _without_key(session: Session, people: Iterable[LetIn]) -> set[LetIn]:
    with_key = {who for who in people if who.key is not None}
    live = (ApiKey.revoked_at.is_(None), ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    found = select(ApiKey.id).where(ApiKey.id.in_({who.key for who in with_key}), *live)
    good = set(session.scalars(found)) if with_key else set()
    return {who for who in with_key if who.key not in good}


def _signed_out(session: Session, people: Iterable[LetIn]) -> set[LetIn]:
    with_login = {who for who in people if who.login is not None}
    live = LoginSession.expires_at > func.now()
    found = select(LoginSession.token_hash).where(LoginSession.token_hash.in_({who.login for who in with_login}), live)
    good = set(session.scalars(found)) if with_login else set()
    return {who for who in with_login if who.login not in good}


def _not_seen(session: Session, watches: Iterable[Watch]) -> set[Watch]:
    """One question for each person and role, which the rule of membership answers; admins see every job."""
    out: set[Watch] = set()
    hidden_from = sorted((it for it in watches if it[0].role is not Role.ADMIN), key=_who)
    for (person, role), group in groupby(hidden_from, key=lambda it: (it[0].person, it[0].role)):
        asked = list(group)
        see_as(session, person, role)
        seen = set(session.scalars(select(Job.id).where(Job.id.in_({job for _, job in asked}))))
        out |= {watch for watch in asked if watch[1] not in seen}
    return out


def _who(watch: Watch) -> tuple[uuid.UUID, str]:
    return watch[0].person, watch[0].role.value
