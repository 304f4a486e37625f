"""Who takes part: people, how they sign in, their keys."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from annotation_api.db.kinds import Role
from annotation_api.db.tables.base import Base, new_id, now, text_enum


class Person(Base):
    __tablename__ = "people"
    id: Mapped[uuid.UUID] = new_id()
    email: Mapped[str] = mapped_column(unique=True)  # stored in lower case
    name: Mapped[str]
    role: Mapped[Role] = mapped_column(text_enum(Role))
    password_hash: Mapped[str]  # Argon2id
    pseudonym: Mapped[str] = mapped_column(unique=True)  # what exports show
    active: Mapped[bool] = mapped_column(server_default=sql("true"))
    language: Mapped[str | None]  # of the interface: en or zh; unset: as the browser asks
    erased_at: Mapped[datetime | None]  # name and address are gone, the pseudonym stays with the work
    totp_secret: Mapped[str | None]  # of the second factor; before `second_factor_at` one that is being set up
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # of the newest code that was used: none works twice
    second_factor_at: Mapped[datetime | None]  # since when it is asked for at sign-in
    created_at: Mapped[datetime] = now()


class LoginSession(Base):
    """A signed-in browser; the cookie holds the token, the row only its hash."""

    __tablename__ = "login_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    created_at: Mapped[datetime] = now()
    seen_at: Mapped[datetime] = now()  # not to the minute; one that rests for too long is over
    expires_at: Mapped[datetime]


class RecoveryCode(Base):
    """Works once in place of a code of the second factor; gone when it was used."""

    __tablename__ = "recovery_codes"
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)


class PasswordReset(Base):
    """A one-time link with which a person sets a new password; gone when it was used."""

    __tablename__ = "password_resets"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    created_at: Mapped[datetime] = now()
    expires_at: Mapped[datetime]


class MadeFrom(StrEnum):
    """How a key came to be, which says what ends it besides its own end."""

    SESSION = "session"  # by a person who was signed in: a new password ends it
    KEY = "key"  # by means of another key: that one's end is its end
    MACHINE = "machine"  # on the machine that runs the service


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[uuid.UUID] = new_id()
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]  # the first characters, so that a person can tell keys apart
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any] | None]  # unset: everything that the person's role allows
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("api_keys.id"), index=True)
    made_from: Mapped[MadeFrom] = mapped_column(text_enum(MadeFrom), server_default="machine")
    created_at: Mapped[datetime] = now()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Base):
    """A one-time link that makes a person of a role; the first-run set-up link is one for an admin."""

    __tablename__ = "invitations"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[Role] = mapped_column(text_enum(Role))
    note: Mapped[str | None]  # for whom it is, for the admins
    created_at: Mapped[datetime] = now()
    expires_at: Mapped[datetime]
    used_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id"))
