"""What is not our own among the static files is exactly what its makers published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from annotation_api import web

UPLOT = Path(web.__file__).parent / "static" / "uplot"
PUBLISHED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_vendored_file_is_as_it_was_published(name: str) -> None:
    assert hashlib.sha256((UPLOT / name).read_bytes()).hexdigest() == PUBLISHED[name]


def test_its_version_is_told() -> None:
    version = "1.6.32"
    assert f"(v{version})" in (UPLOT / "uPlot.iife.min.js").read_text("utf-8")[:200]
    assert f"uPlot {version} " in (UPLOT / "README.md").read_text("utf-8")
