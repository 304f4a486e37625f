"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for the day it is lost."""

from __future__ import annotations

import hmac
import secrets
import time

import pyotp
from sqlalchemy import delete, func, update
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.db.locks import lock_person
from annotation_api.db.tables import Person, RecoveryCode
from annotation_api.http import auth
from annotation_api.http.errors import ApiError
from annotation_api.people import tries
from annotation_api.people.tries import Knock

ISSUER = "Rankloop"
PERIOD = 30  # seconds for which a code stands
DRIFT = 1  # periods by which the app's clock may be off
RECOVERY_CODES = 10
WRONG = Sentence("wrong-code", "This code is not right, or was used before. Wait for the next one.")


def begin(session: Session, person: Person) -> str:
    """A new secret, as the URI that an app reads; it counts once `confirm` got a code of it."""
    if person.second_factor_at is not None:
        raise ApiError(
            409,
            "has-second-factor",
            Sentence("has-second-factor", "There is a second factor already. Take it away first."),
        )
    person.totp_secret, person.totp_step = pyotp.random_base32(), None
    return uri_of(person)


def uri_of(person: Person) -> str:
    assert person.totp_secret is not None
    return pyotp.TOTP(person.totp_secret, interval=PERIOD).provisioning_uri(name=person.email, issuer_name=ISSUER)


def confirm(session: Session, person: Person, code: str) -> list[str]:
    """Switch the factor on; the recovery codes, shown once."""
    if person.totp_secret is None or person.second_factor_at is not None:
        raise _none_begun()
    with tries.tried(session, tries.own(person, "second factor")):
        if not _use_code(session, person, code):
            raise ApiError(422, "wrong-code", WRONG)
    session.refresh(person, with_for_update={"key_share": True})
    if person.second_factor_at is not None:  # by another tab, which shows the codes that count
        raise _none_begun()
    person.second_factor_at = func.now()
    codes = new_recovery_codes(session, person)
    session.flush()
    session.refresh(person)
    return codes


def _none_begun() -> ApiError:
    return ApiError(
        409, "no-second-factor", Sentence("no-second-factor", "No second factor is being set up. Begin anew.")
    )


def new_recovery_codes(session: Session, person: Person) -> list[str]:
    """Fresh ones; the old ones are over."""
    lock_person(session, person.id)  # of two who ask at once the second one's count
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    session.add_all([RecoveryCode(person_id=person.id, code_hash=_digest(person, code)) for code in codes])
    return codes


def _recovery_code() -> str:
    """112 random bits in four groups: enough for a plain hash to hide them."""
    digits = secrets.token_hex(14)
    return "-".join(digits[start : start + 7] for start in range(0, len(digits), 7))


def check(session: Session, person: Person, code: str, knock: Knock) -> None:
    """Use up a code at sign-in, or a recovery code. 401 if it is wrong, 429 after too many wrong ones."""
    with tries.tried(session, tries.at_second_factor(person, knock)):
        if not (_use_code(session, person, code) or _use_recovery_code(session, person, code)):
            known = {"person_id": str(person.id)}
            raise ApiError(401, "wrong-credentials", WRONG, objects=known)


def remove(session: Session, person: Person) -> None:
    person.totp_secret = person.totp_step = person.second_factor_at = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))


def _use_code(session: Session, person: Person, code: str) -> bool:
    """True if the code is right now and newer than the last one that was used, also by who came at the same moment."""
    assert person.totp_secret is not None
    totp, now = pyotp.TOTP(person.totp_secret, interval=PERIOD), int(time.time()) // PERIOD
    given = "".join(code.split())
    for step in range(now - DRIFT, now + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), given.encode()) and _use_step(session, person, step):
            return True
    return False


def _use_step(session: Session, person: Person, step: int) -> bool:
    """False where it was used, or a newer one was."""
    fresh = Person.totp_step.is_(None) | (Person.totp_step < step)
    used = update(Person).where(Person.id == person.id, fresh).values(totp_step=step).returning(Person.id)
    return session.scalar(used) is not None


def _use_recovery_code(session: Session, person: Person, code: str) -> bool:
    digest = _digest(person, code.strip().lower())
    used = delete(RecoveryCode).where(RecoveryCode.person_id == person.id, RecoveryCode.code_hash == digest)
    return session.execute(used.returning(RecoveryCode.code_hash)).one_or_none() is not None


def _digest(person: Person, code: str) -> str:
    return auth.hash_token(f"{person.id} {code}")
