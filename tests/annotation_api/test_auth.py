"""Passwords, keys and the throttle, with a clock of the test's own."""

from __future__ import annotations

import pytest

from annotation_api import auth
from annotation_api.auth import Throttle


def test_a_password_verifies_against_its_own_hash_only() -> None:
    stored = auth.hash_password("three plain words")
    assert auth.verify_password(stored, "three plain words")
    assert not auth.verify_password(stored, "three plain word")
    assert not auth.verify_password(None, "three plain words")
    assert not auth.verify_password(auth.NO_PASSWORD, auth.NO_PASSWORD)


def test_keys_are_long_and_differ() -> None:
    (one, prefix), (two, _) = auth.new_api_key(), auth.new_api_key()
    assert one != two
    assert one.startswith(f"rl_{prefix}_")
    assert len(one.split("_", 2)[2]) == 43  # 256 bits in base64


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_five_failures_close_the_door_until_the_first_is_old(clock: Clock) -> None:
    throttle = Throttle(clock)
    for second in range(5):
        clock.now = float(second)
        assert throttle.seconds_closed("a@b.c", "1.2.3.4") == 0
        throttle.failed("a@b.c", "1.2.3.4")
    assert throttle.seconds_closed("a@b.c", "1.2.3.4") == 896  # 900 s after the first, 4 have passed
    assert throttle.seconds_closed("a@b.c", "5.6.7.8") == 0  # the owner elsewhere is not locked out
    clock.now = 900.0
    assert throttle.seconds_closed("a@b.c", "1.2.3.4") == 0


def test_success_forgets_the_slips_but_not_the_addresss(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(4):
        throttle.failed("a@b.c", "1.2.3.4")
    throttle.succeeded("a@b.c", "1.2.3.4")
    throttle.failed("a@b.c", "1.2.3.4")
    assert throttle.seconds_closed("a@b.c", "1.2.3.4") == 0
    for number in range(95):
        throttle.failed(f"{number}@b.c", "1.2.3.4")
    assert throttle.seconds_closed("new@b.c", "1.2.3.4") == 900  # 100 failures from one address


def test_guessing_one_account_from_many_addresses_is_stopped(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(50):
        throttle.failed("a@b.c", f"10.0.0.{number}")
    assert throttle.seconds_closed("a@b.c", "9.9.9.9") == 900


def test_made_up_names_do_not_fill_the_memory(clock: Clock) -> None:
    throttle = Throttle(clock)
    for number in range(Throttle.KEPT):
        throttle.failed(f"{number}@b.c", f"10.0.{number // 256}.{number % 256}")
    assert len(throttle._failures) <= Throttle.KEPT
