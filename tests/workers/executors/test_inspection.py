"""What a machine of a cluster answers when it is asked whether a stage can run on it: each lack by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.executors import inspection

MARK = "the one of this database"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / inspection.MARK).write_text(f"{MARK}\n")
    return folder


def test_a_machine_that_sees_the_same_files_and_code_is_fit(home: Path) -> None:
    assert inspection.refusal(str(home), MARK, [str(home)], inspection.versions()) == ""


def test_another_folder_in_the_place_of_the_home_is_named(home: Path, tmp_path: Path) -> None:
    assert inspection.wrong_files(str(home), "of another one", []) == (
        f"has another folder at {home}, not the shared one"
    )
    (home / inspection.MARK).unlink()
    assert "has another folder at" in inspection.wrong_files(str(home), MARK, [])
    assert inspection.wrong_files(str(tmp_path / "none"), MARK, []) == f"has no folder {tmp_path / 'none'}"


def test_a_file_that_is_not_mounted_and_a_home_that_cannot_be_written_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspection.wrong_files(str(home), MARK, [str(home), "/no/model"]) == "does not see /no/model"
    monkeypatch.setattr(inspection.os, "access", lambda path, mode: False)  # root may always
    assert inspection.wrong_files(str(home), MARK, []) == f"may not write into {home}"


def test_other_code_another_library_and_none_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The code by what stands in its files: one that was changed there is another one."""
    here = inspection.versions()
    assert inspection.wrong_code(here | {"torch": "0.1"}) == f"has torch {here['torch']}, and 0.1 is wanted"
    for name in inspection.PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.setattr(inspection.importlib.util, "find_spec", lambda name: _spec(tmp_path / name))
    other = inspection.versions()["code"]
    assert other not in ("", here["code"])
    assert inspection.wrong_code(here) == f"has Rankloop's code {other}, and {here['code']} is wanted"
    (tmp_path / "workers" / "settings.py").write_text("x = 1\n")
    assert inspection.versions()["code"] not in ("", other)
    monkeypatch.setattr(inspection.importlib.util, "find_spec", lambda name: None)
    assert inspection.wrong_code(here) == inspection.NO_PROJECT


def _spec(folder: Path) -> object:
    class Spec:
        submodule_search_locations = (str(folder),)

    return Spec()
