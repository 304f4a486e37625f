"""The same thing in two tabs at one moment: a code is used once, what was ended stays ended, the last word counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from annotation_api.db.engine import session_factory
from annotation_api.db.tables import LoginSession, Person, RecoveryCode, Role
from annotation_api.http import auth
from annotation_api.http.errors import ApiError
from annotation_api.people import second_factor, service
from annotation_api.people.tries import Knock

PASSWORD, NEW = "three plain words", "four plain words here"
KNOCK = Knock("192.0.2.1")
Tabs = tuple[Session, Person, Session, Person]


@pytest.fixture
def tabs(fresh_engine: Engine, factory: Any) -> Any:
    """Two sessions that each have read the same person, whose second factor is being set up."""
    sessions = session_factory(fresh_engine)
    with sessions.begin() as session:
        person = factory(session).person(Role.ADMIN, password_hash=auth.hash_password(PASSWORD))
        second_factor.begin(session, person)
    with sessions() as one, sessions() as other:
        yield one, one.get_one(Person, person.id), other, other.get_one(Person, person.id)


def code(person: Person, earlier: int = 0) -> str:
    assert person.totp_secret is not None
    return pyotp.TOTP(person.totp_secret).at(int(time.time()) - earlier * second_factor.PERIOD)


def test_a_code_is_used_once_by_who_comes_first(tabs: Tabs) -> None:
    one, mine, other, theirs = tabs
    given = code(mine)
    second_factor.check(one, mine, given, KNOCK)
    with pytest.raises(ApiError, match="was used before"):
        second_factor.check(other, theirs, given, KNOCK)


def test_two_tabs_that_set_up_a_second_factor_show_one_set_of_recovery_codes(tabs: Tabs) -> None:
    one, mine, other, theirs = tabs
    second_factor.confirm(one, mine, code(mine, earlier=1))
    one.commit()
    with pytest.raises(ApiError, match="No second factor is being set up"):
        second_factor.confirm(other, theirs, code(theirs))
    assert one.scalar(select(func.count()).select_from(RecoveryCode)) == second_factor.RECOVERY_CODES


def test_fresh_recovery_codes_end_those_of_a_tab_that_asks_too(tabs: Tabs) -> None:
    """Whoever waits does so before it looks for what is to go."""
    one, mine, other, theirs = tabs
    second_factor.new_recovery_codes(one, mine)
    one.flush()
    held = select(Person.id).where(Person.id == mine.id).with_for_update(key_share=True, skip_locked=True)
    assert other.scalar(held) is None
    one.commit()
    second_factor.new_recovery_codes(other, theirs)
    other.commit()
    assert one.scalar(select(func.count()).select_from(RecoveryCode)) == second_factor.RECOVERY_CODES


@pytest.mark.parametrize("what", ["a new password", "retired"])
def test_a_sign_in_under_way_does_not_outlive_what_ends_all_others(
    tabs: Tabs, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, mine, other, theirs = tabs
    check: Callable[..., Person] = service.check_password

    def checked(*given: Any) -> Person:
        person = check(*given)
        if what == "retired":
            theirs.active = False
        else:
            theirs.password_hash = auth.hash_password(NEW)
        auth.end_all_sessions(other, theirs)
        other.commit()
        return person

    monkeypatch.setattr(service, "check_password", checked)
    with pytest.raises(ApiError, match="do not match an active account"):
        service.sign_in(one, mine.email, PASSWORD, KNOCK)
    one.rollback()
    assert one.scalar(select(func.count()).select_from(LoginSession)) == 0
