"""Passwords and keys."""

from __future__ import annotations

from annotation_api.http import auth


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
