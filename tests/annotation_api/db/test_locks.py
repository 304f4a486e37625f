"""Advisory locks share one space of numbers: each use has its own."""

from __future__ import annotations

import re
from pathlib import Path

import annotation_api
import migrations
from annotation_api.db import locks
from annotation_api.db.locks import Lock

SOURCES = [
    path for package in (annotation_api, migrations) for path in Path(next(iter(package.__path__))).rglob("*.py")
]
BY_ID = (
    "idempotency.py",
    "bulk.py",
    "models/queries.py",
    "prepared.py",
)  # 64 bits of what it is


def test_the_numbers_differ() -> None:
    numbers = [lock.value for lock in Lock.__members__.values()]
    assert len(numbers) == len(set(numbers)) >= 3


def test_who_takes_a_lock_takes_its_number_from_the_one_list() -> None:
    takers = [path for path in SOURCES if re.search(r"pg_\w*advisory", path.read_text())]
    assert len(takers) >= 5
    for path in takers:
        assert path.as_posix().endswith(BY_ID) or re.search(r"\bLock\.[A-Z]+\b", path.read_text()), path
    written = [path for path in SOURCES if re.search(r"\b7_?265_?0", path.read_text())]
    assert written == [Path(locks.__file__)]
