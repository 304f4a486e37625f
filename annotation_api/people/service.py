"""Who may come in and as what: the first admin, invitations, sign-in, roles, API keys."""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db import limits, places
from annotation_api.db.tables import Invitation, MadeFrom, PasswordReset, Person, Role
from annotation_api.http import auth
from annotation_api.http.errors import ApiError, not_found
from annotation_api.people import keys, passwords, queries, second_factor, tries
from annotation_api.people.keys import add_api_key
from annotation_api.people.schemas import NewApiKey, NewPassword, NewPerson, PersonChange
from annotation_api.people.tries import Knock

INVITATION_LIFE = timedelta(days=7)
RESET_LIFE = timedelta(hours=24)
SETUP_LIFE = timedelta(hours=24)
LOCAL_ENGINEER = "engineer@localhost"


def ensure_setup_link(session: Session) -> str | None:
    """A fresh one-time token for the first admin; None when an active admin exists. Older links stop working."""
    if queries.has_active_admin(session):
        return None
    session.execute(delete(Invitation).where(Invitation.role == Role.ADMIN, Invitation.used_by.is_(None)))
    token, _ = invite(session, Role.ADMIN, SETUP_LIFE)
    return token


def ensure_local_engineer_key(session: Session, current: str | None = None) -> str:
    """An engineer's key for the person at this machine: `current` while it is good, else a new one."""
    if current and auth.person_of_key(session, current):
        return current
    person = queries.person_by_email(session, LOCAL_ENGINEER)
    if person is None:
        person = _add_person(session, LOCAL_ENGINEER, "Local engineer", Role.ENGINEER, auth.NO_PASSWORD)
    _, key = add_api_key(session, person, NewApiKey(name="this machine"))
    return key


def invite(
    session: Session, role: Role, life: timedelta = INVITATION_LIFE, note: str | None = None
) -> tuple[str, Invitation]:
    """An invitation and its token, which is not stored; the note says for whom it is."""
    token = auth.new_token()
    invitation = Invitation(token_hash=auth.hash_token(token), role=role, note=note, expires_at=func.now() + life)
    session.add(invitation)
    session.flush()
    session.refresh(invitation)
    return token, invitation


def look_up_invitation(session: Session, token: str, *, lock: bool = False) -> Invitation:
    invitation = queries.open_invitation(session, auth.hash_token(token), lock=lock)
    if invitation is None:
        raise ApiError(
            404, "bad-link", Sentence("bad-link", "This link is unknown, used or expired. Ask an admin for a new one.")
        )
    return invitation


def accept(session: Session, token: str, new: NewPerson) -> Person:
    """Make the person of an invitation; the link works once."""
    invitation = look_up_invitation(session, token, lock=True)
    if queries.person_by_email(session, new.email):
        raise _taken(new.email)
    refuse_common(new.password, "/password", new.email, new.name)
    try:
        person = _add_person(session, new.email, new.name, invitation.role, auth.hash_password(new.password))
    except IntegrityError:  # another link made it meanwhile
        raise _taken(new.email) from None
    invitation.used_by = person.id
    return person


def _taken(email: str) -> ApiError:
    return ApiError(
        409,
        "email-taken",
        Sentence("email-taken", "%(email)s already has an account. Sign in, or take another address.", email=email),
    )


def refuse_common(password: str, pointer: str, *about: str) -> None:
    if fault := passwords.fault_of(password, *about):
        raise ApiError(422, "common-password", fault, [Problem(pointer=pointer, message=fault)])


def _add_person(session: Session, email: str, name: str, role: Role, password_hash: str) -> Person:
    pseudonym = f"person-{secrets.token_hex(4)}"
    person = Person(email=email, name=name, role=role, password_hash=password_hash, pseudonym=pseudonym)
    session.add(person)
    session.flush()
    session.refresh(person)
    return person


def sign_in(session: Session, email: str, password: str, knock: Knock, code: str | None = None) -> tuple[Person, str]:
    """The person of the right password, and code if there is a second factor; and a session's token."""
    person = check_password(session, email, password, knock)
    if person.second_factor_at is not None:
        if code is None:
            raise ApiError(
                401,
                "second-factor-needed",
                Sentence("second-factor-needed", "Enter a code of your second factor, too."),
            )
        second_factor.check(session, person, code, knock)
    return person, come_in(session, person)


def come_in(session: Session, person: Person) -> str:
    """A session's token for who has just shown the password, unless it was changed, or they were retired, since."""
    shown = person.password_hash
    session.refresh(person, with_for_update={"key_share": True})
    if person.password_hash != shown or not person.active:
        raise _wrong_credentials(person)
    return auth.start_session(session, person)


def check_password(session: Session, email: str, password: str, knock: Knock) -> Person:
    """The person of the right password. A refusal does not say what was wrong."""
    email = email.strip().lower()
    person = queries.person_by_email(session, email)
    with tries.tried(session, tries.at_sign_in(email, person, knock)):
        right = auth.verify_password(person.password_hash if person else None, password)
        if person is None or not right or not person.active:
            raise _wrong_credentials(person)
    return person


def _wrong_credentials(person: Person | None) -> ApiError:
    known = {"person_id": str(person.id)} if person else {}
    detail = Sentence("wrong-credentials", "E-mail and password do not match an active account.")
    return ApiError(401, "wrong-credentials", detail, objects=known)


def whose_password(session: Session, passed: str) -> Person | None:
    """Who gave the right password a moment ago, by what the browser got for it."""
    try:
        person = session.get(Person, uuid.UUID(passed.partition(".")[0]))
    except ValueError:
        return None
    good = person is not None and person.active and person.second_factor_at is not None
    return person if person and good and tries.is_password_given(person, passed) else None


def change_person(session: Session, person_id: uuid.UUID, change: PersonChange) -> Person:
    """Give a role, retire or bring back. The last active admin stays."""
    person = _alone(session, person_id)
    if person.erased_at is not None:
        raise ApiError(
            409,
            "erased",
            Sentence("person-erased", "This person's name and address are gone for good. Invite them anew."),
        )
    role = change.role or person.role
    active = person.active if change.active is None else change.active
    if not (active and role == Role.ADMIN):
        _refuse_last_admin(session, person)
    if active != person.active:  # who comes back gets neither a session nor a key back
        auth.end_all_sessions(session, person)
        keys.revoke_all(session, person)
    if not active:
        places.give_back_all(session, person.id)
    person.role, person.active = role, active
    return person


def _alone(session: Session, person_id: uuid.UUID) -> Person:
    """The person as they are now: no admin changes anybody meanwhile, and the person claims and answers nothing."""
    queries.lock_admins(session)
    person = find_person(session, person_id)
    session.refresh(person, with_for_update={"key_share": True})
    return person


def find_person(session: Session, person_id: uuid.UUID) -> Person:
    person = session.get(Person, person_id)
    if person is None:
        raise not_found("person", person_id)
    return person


def _refuse_last_admin(session: Session, person: Person) -> None:
    is_admin = person.role == Role.ADMIN and person.active
    if is_admin and not queries.has_active_admin(session, besides=person.id):
        raise ApiError(
            409, "last-admin", Sentence("last-admin", "This is the last active admin. Make another one first.")
        )


def erase(session: Session, person_id: uuid.UUID) -> Person:
    """Take name, address, password, sessions and keys away, for good. The pseudonym and all work stay.

    Doing it twice is the same. 409 for the last active admin.
    """
    person = _alone(session, person_id)
    if person.erased_at is None:
        _refuse_last_admin(session, person)
        person.name, person.email = person.pseudonym, f"{person.pseudonym}@erased.invalid"
        person.password_hash, person.language, person.active = auth.NO_PASSWORD, None, False
        person.totp_secret = person.totp_step = person.second_factor_at = None
        person.erased_at = func.now()
        queries.drop_access(session, person)
        places.give_back_all(session, person.id)
        session.flush()
        session.refresh(person)
    return person


def again(session: Session, person: Person, password: str) -> None:
    """Who is signed in must give the password before it or the second factor is changed."""
    with tries.tried(session, tries.own(person, "own password")):
        if not auth.verify_password(person.password_hash, password):
            raise ApiError(
                422,
                "wrong-password",
                Sentence("wrong-password", "The password so far is not right. Nothing was changed."),
            )


def change_password(session: Session, person: Person, change: NewPassword) -> str:
    """Set a new password; returns the token of a fresh session, the only one that is left."""
    again(session, person, change.current)
    _set_password(session, person, change.new, "/new")
    return auth.start_session(session, person)


def _set_password(session: Session, person: Person, password: str, pointer: str) -> None:
    """What was signed in with the old one ends: sessions, and keys made in them with all that came of those."""
    refuse_common(password, pointer, person.email, person.name)
    person.password_hash = auth.hash_password(password)
    auth.end_all_sessions(session, person)
    keys.revoke_all(session, person, MadeFrom.SESSION)


def begin_reset(session: Session, person: Person) -> tuple[str, PasswordReset]:
    """A one-time link's token for a new password; older links stop working."""
    if not person.active:
        raise ApiError(
            409, "retired", Sentence("person-retired", "This person may not sign in. Let them in again first.")
        )
    session.execute(delete(PasswordReset).where(PasswordReset.person_id == person.id))
    token = auth.new_token()
    reset = PasswordReset(token_hash=auth.hash_token(token), person_id=person.id, expires_at=func.now() + RESET_LIFE)
    session.add(reset)
    session.flush()
    session.refresh(reset)
    return token, reset


def find_reset(session: Session, token: str, *, lock: bool = False) -> Person:
    """Whose password a link sets."""
    person = queries.person_of_reset(session, auth.hash_token(token), lock=lock)
    if person is None:
        raise ApiError(
            404, "bad-link", Sentence("bad-link", "This link is unknown, used or expired. Ask an admin for a new one.")
        )
    return person


def reset_password(session: Session, token: str, password: str) -> Person:
    """Set the password that a link offers to set. It does not sign in: a second factor is still asked for."""
    person = find_reset(session, token, lock=True)
    _set_password(session, person, password, "/password")
    session.execute(delete(PasswordReset).where(PasswordReset.person_id == person.id))
    unlock(session, person)
    return person


def unlock(session: Session, person: Person) -> None:
    """Forget all wrong tries at the account: nobody waits for them any more."""
    limits.forget_all(session, tries.of_account(person.email))


def withdraw(session: Session, invitation_id: str) -> None:
    """End an open invitation; its link stops working."""
    invitation = queries.open_invitation(session, invitation_id, lock=True)
    if invitation is None:
        raise not_found("open invitation", invitation_id)
    session.delete(invitation)
