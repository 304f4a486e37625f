"""The base of adapters is found where it is named, and where both were moved together."""

from __future__ import annotations

from pathlib import Path

from alignment.untrusted.adapters import base_of


def home(path: Path) -> tuple[Path, Path]:
    base, adapters = path / "artifacts" / "job-1" / "1", path / "artifacts" / "job-2" / "1"
    for folder in (base, adapters):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    return base, adapters


def test_where_it_is_named(tmp_path: Path) -> None:
    base, adapters = home(tmp_path / "home")
    assert base_of(adapters, str(base)) == base
    assert base_of(adapters, "../../job-1/1") == adapters / "../../job-1/1"


def test_in_a_home_that_was_restored_elsewhere(tmp_path: Path) -> None:
    base, _ = home(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new" / "artifacts"
    assert base_of(moved / "job-2" / "1", str(base)) == moved / "job-1" / "1"


def test_a_base_that_is_gone_stays_named_as_it_was(tmp_path: Path) -> None:
    _, adapters = home(tmp_path / "home")
    named = "/elsewhere/artifacts/job-3/1"
    assert base_of(adapters, named) == Path(named)
    assert base_of(adapters, "/1") == Path("/1"), "one part alone is no name"
