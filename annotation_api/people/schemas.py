"""What callers send and get about people, sessions, invitations and API keys."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from alignment.shared.sentence import Sentence
from annotation_api.db.tables import MadeFrom, Role
from annotation_api.http.key_scopes import Scope
from annotation_api.http.labels import one_line
from annotation_api.http.schemas import Body, Shown

ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _address(text: str) -> str:
    if not ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError(Sentence("no-address", "this is no e-mail address; one looks like ada@example.org"))
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=254),
    AfterValidator(_address),
    Field(json_schema_extra={"pattern": f"^{ADDRESS.pattern}$"}),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(one_line)]
# `repr=False`: never shown, neither in a repr nor in what a refused body is told.
Password = Annotated[str, Field(min_length=10, max_length=200, repr=False, description="At least 10 characters.")]


Code = Annotated[str, Field(min_length=6, max_length=40, description="Of the second factor.")]


class SignIn(Body):
    email: str = Field(max_length=254)
    password: str = Field(max_length=200, repr=False)
    code: Code | None = Field(
        default=None, repr=False, description="Where there is a second factor, or a recovery code."
    )


class NewPassword(Body):
    current: str = Field(max_length=200, repr=False, description="The password so far.")
    new: Password


class OwnPassword(Body):
    password: str = Field(max_length=200, repr=False, description="The password so far.")


class NewSecondFactor(Shown):
    uri: str = Field(description="otpauth://..., which an authenticator app reads; it counts once a code of it came.")


class OwnCode(Body):
    code: Code = Field(repr=False)


class RecoveryCodes(Shown):
    recovery_codes: list[str] = Field(description="Each works once in place of a code. Shown once.")


class ResetLink(Shown):
    token: str = Field(description="Shown once.")
    url: str
    expires_at: datetime


class ResetPassword(Body):
    password: Password


Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(one_line)]


class NewInvitation(Body):
    role: Role
    note: Note | None = Field(default=None, description="For whom it is; the other admins see it.")


class OpenInvitation(Shown):
    """A link that was sent and not used yet; the link itself is not known any more."""

    id: str = Field(validation_alias="token_hash")
    role: Role
    note: str | None
    created_at: datetime
    expires_at: datetime


class InvitationOut(Shown):
    token: str | None = Field(description="Shown once.")
    url: str | None
    role: Role
    expires_at: datetime


class NewPerson(Body):
    email: Email
    name: Name
    password: Password


class PersonChange(Body):
    role: Role | None = None
    active: bool | None = None


class PersonOut(Shown):
    id: uuid.UUID
    email: str
    name: str
    role: Role
    pseudonym: str = Field(description="What exports show instead of the name.")
    active: bool
    second_factor_at: datetime | None = Field(description="Since when a code is asked for at sign-in.")
    erased_at: datetime | None = Field(description="When the name and address were taken away, for good.")
    created_at: datetime


class NewApiKey(Body):
    name: Name = Field(description="What the key is for.")
    expires_in_days: int = Field(default=365, ge=1, le=3650)
    scopes: list[Scope] | None = Field(
        default=None, min_length=1, description="What the key may be used for; unset: all that the role allows."
    )


class ApiKeyOut(Shown):
    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[Scope] | None
    made_from: MadeFrom = Field(
        description="session: a new password ends the key; key: so does the end of `parent_id`."
    )
    parent_id: uuid.UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeyCreated(ApiKeyOut):
    key: str | None = Field(description="The key itself, shown once.")
