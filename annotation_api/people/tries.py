"""Doors at which something secret is asked for, and how often one may try: nobody is locked out by others.

A stranger's tries at an account are counted for that account from that address: they slow nobody else down. A browser
in which the person signed in before has a door of its own, so that whoever shares its address does not matter either;
it says so by a cookie which is signed with the person's password hash, and so ends with the password. From an address
that tried very often, each further try of a stranger takes a moment, whatever the account.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from itsdangerous import BadData, TimestampSigner
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.db import limits
from annotation_api.db.limits import Tries
from annotation_api.db.tables import Person
from annotation_api.http.errors import ApiError

DEVICE, PASSED = "known device", "password given"  # what a signature is for
DEVICE_LIFE = timedelta(days=180)
PASSED_LIFE = timedelta(minutes=10)
MANY = 300  # tries of strangers from one address, from which on each takes SLOW seconds
SLOW = 2
STRANGERS_LIFE = 15 * 60
NETWORK_BITS = 64  # of an IPv6 address: what one subscriber has, at least


@dataclass(frozen=True)
class Knock:
    """Who asks to come in, as far as the request shows it: an address, and what the cookies say of the device."""

    address: str
    devices: tuple[str, ...] = ()


def device_token(person: Person) -> str:
    """What a browser shows later, to be known as one of the person's."""
    return _signer(person, DEVICE).sign(str(person.id)).decode()


def is_known(person: Person, knock: Knock) -> bool:
    """Whether one of the knock's devices is the person's."""
    return any(is_of(person, token) for token in knock.devices)


def is_of(person: Person, token: str) -> bool:
    return _signed(_signer(person, DEVICE), token, DEVICE_LIFE) == str(person.id)


def _signer(person: Person, use: str) -> TimestampSigner:
    return TimestampSigner(person.password_hash, salt=f"rankloop {use}")


def _signed(signer: TimestampSigner, token: str, life: timedelta) -> str | None:
    """What was signed, if it was and is not older than that."""
    try:
        return signer.unsign(token, max_age=int(life.total_seconds())).decode()
    except BadData:
        return None


def password_given(person: Person) -> str:
    """What the second step of signing in shows, within PASSED_LIFE of the first."""
    return _signer(person, PASSED).sign(str(person.id)).decode()


def is_password_given(person: Person, passed: str) -> bool:
    return _signed(_signer(person, PASSED), passed, PASSED_LIFE) == str(person.id)


def at_sign_in(email: str, person: Person | None, knock: Knock) -> list[Tries]:
    """The counts of a try at an account; the first one is forgotten when it succeeds."""
    if person is not None and is_known(person, knock):
        return [Tries(f"{of_account(email)}known")]
    place = limits.hidden(network(knock.address))
    strangers = Tries(f"strangers {place}", free=MANY, first=SLOW, longest=SLOW, life=STRANGERS_LIFE)
    return [Tries(f"{of_account(email)}{place}"), strangers]


def at_second_factor(person: Person, knock: Knock) -> list[Tries]:
    """Whoever gets here knows the password: all strangers' tries count together, a known device's apart."""
    who = "known" if is_known(person, knock) else "strangers"
    return [Tries(f"{of_account(person.email)}code {who}")]


def of_account(email: str) -> str:
    """How the keys of all counts of an account begin."""
    return f"sign-in {limits.hidden(email)} "


def own(person: Person, what: str) -> list[Tries]:
    """The count of tries at something by the person who is signed in."""
    return [Tries(f"{what} {person.id}")]


def network(address: str) -> str:
    """The address; of IPv6 only what one subscriber cannot choose."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, NETWORK_BITS), strict=False))


@contextmanager
def tried(session: Session, tries: Sequence[Tries]) -> Iterator[None]:
    """A try is made inside; ApiError says that it was wrong.

    It is counted before it is made, so that many at once are no more than one after another. It is taken back at
    once when it was right, or when it came to nothing: what becomes of the rest of the request does not matter.
    """
    keys = [one.key for one in tries]
    _count(session, tries)
    try:
        yield
    except ApiError:
        raise
    except BaseException:
        session.rollback()
        limits.give_back(session, keys)
        session.commit()
        raise
    limits.forget(session, keys[0])
    limits.give_back(session, keys[1:])
    session.commit()


def _count(session: Session, tries: Sequence[Tries]) -> None:
    wait = limits.attempt(session, tries)
    if wait is not None:
        detail = Sentence(
            "too-many-tries", "Too many wrong tries from here. Try again in %(wait)s.", wait=in_words(wait)
        )
        raise ApiError(429, "too-many-attempts", detail, headers={"Retry-After": str(wait)})


def in_words(seconds: int) -> str:
    if seconds < 100:
        return Sentence("seconds", "%(n)s seconds" if seconds > 1 else "%(n)s second", n=seconds)
    return Sentence("minutes", "%(n)s minutes", n=-(-seconds // 60))
