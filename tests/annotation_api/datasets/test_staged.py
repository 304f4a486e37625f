"""Uploads that wait for a yes: one a person, nobody else's, gone after a day."""

from __future__ import annotations

import io
import os
import time
import uuid
from pathlib import Path

import pytest

from annotation_api.datasets import staged
from annotation_api.http.errors import ApiError

ERIN, OLGA = uuid.uuid4(), uuid.uuid4()


def gone(home: Path, person: uuid.UUID, token: str) -> bool:
    with pytest.raises(ApiError) as refusal:
        staged.reopen(home, person, token)
    return refusal.value.status == 410


def test_an_upload_is_its_owners_until_it_is_used(tmp_path: Path) -> None:
    token = staged.keep(tmp_path, ERIN, io.BytesIO(b"rows"))
    with staged.reopen(tmp_path, ERIN, token) as file:
        assert file.read() == b"rows"
    assert gone(tmp_path, OLGA, token)
    assert gone(tmp_path, ERIN, "../../etc/passwd")
    staged.forget(tmp_path, OLGA, token)
    staged.reopen(tmp_path, ERIN, token).close()
    staged.forget(tmp_path, ERIN, token)
    assert gone(tmp_path, ERIN, token)


def test_a_newer_upload_takes_the_place_of_the_older(tmp_path: Path) -> None:
    old, theirs = staged.keep(tmp_path, ERIN, io.BytesIO(b"1")), staged.keep(tmp_path, OLGA, io.BytesIO(b"2"))
    staged.keep(tmp_path, ERIN, io.BytesIO(b"3"))
    assert gone(tmp_path, ERIN, old)
    staged.reopen(tmp_path, OLGA, theirs).close()


def test_what_nobody_came_back_for_is_deleted_after_a_day(tmp_path: Path) -> None:
    token = staged.keep(tmp_path, ERIN, io.BytesIO(b"1"))
    (path,) = (tmp_path / "uploads").iterdir()
    assert path.stat().st_mode & 0o077 == 0  # nobody else on the machine may read it
    day_ago = time.time() - staged.KEPT_SECONDS - 1
    os.utime(path, (day_ago, day_ago))
    staged.keep(tmp_path, OLGA, io.BytesIO(b"2"))
    assert gone(tmp_path, ERIN, token)


def test_a_disk_that_takes_nothing_more_is_named(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    with pytest.raises(ApiError, match="The server cannot keep the file") as refusal:
        staged.keep(tmp_path, ERIN, io.BytesIO(b"1"))
    assert refusal.value.status == 507
