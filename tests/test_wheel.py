"""What is installed is what is developed: a wheel that is built from the checkout holds every file of the packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
# One of each kind that is no module, and without which an installed service fails on its first day.
KINDS = (
    "annotation_api/web/locales/*.json",
    "annotation_api/web/templates/**/*.html",
    "annotation_api/web/static/**/*.js",
    "annotation_api/web/static/**/*.css",
    "alignment/shared/presets/*.toml",
    "migrations/versions/*.py",
    "migrations/script.py.mako",
)


@pytest.fixture(scope="module")
def packages() -> list[str]:
    """What is to be in it, as the project says."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


@pytest.fixture(scope="module")
def wheel(packages: list[str], tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names in a wheel that is built as the Dockerfile builds it: from what it copies, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in packages:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=folder, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return frozenset(zipfile.ZipFile(built).namelist())


def test_it_holds_every_file_of_the_packages(packages: list[str], wheel: frozenset[str]) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *packages]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
    wanted = {name for name in names if (ROOT / name).is_file()}
    assert wanted - wheel == set()


@pytest.mark.parametrize("pattern", KINDS)
def test_and_among_them_what_is_no_module(pattern: str, wheel: frozenset[str]) -> None:
    """A pattern that finds nothing would let the test above pass for the wrong reason."""
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    assert found, pattern
    assert found <= wheel


def test_its_command_is_there(wheel: frozenset[str]) -> None:
    assert any(name.endswith("entry_points.txt") for name in wheel)
