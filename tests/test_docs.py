"""The pages say what is there: each path, module and link that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import house, reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {reference.PAGE})]
PACKAGES = "alignment|annotation_api|workers|tests|migrations"
TESTS_OF_THE_SERVICE = ROOT / "tests" / "annotation_api"  # security.md names tests below it
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./-])((?:{PACKAGES}|docs|deploy)/[\w./*-]*|[\w./-]+\.py)(?![\w-])")
MODULE = re.compile(rf"(?<![\w./-])(?:{PACKAGES})(?:\.\w+)+")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not _leads(page, link)] == []


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    assert [path for path in _paths(page) if not _exists(page, path)] == []


@pages
def test_every_module_that_is_named_exists(page: Path) -> None:
    modules = MODULE.findall(page.read_text("utf-8"))
    assert [name for name in modules if not _is_defined(name)] == []


def test_every_room_is_on_the_map() -> None:
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in house.files(*house.PACKAGES)}
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert [room for room in sorted(rooms) if f"{room}/" not in page] == []


def test_the_readme_is_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


def test_the_reference_is_what_the_code_says() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "renew it: python -m tests.support.reference"


def test_what_is_not_there_is_noticed() -> None:
    page = ROOT / "README.md"
    assert not _leads(page, "docs/desks.md")
    assert not _leads(page, "docs/desk.md#the-desks")
    assert not _exists(page, "alignment/ppo/losses.py")
    assert not _is_defined("alignment.acquire")
    assert not _is_defined("alignment.shared.stages.inputs_off")
    assert PATH.findall("see alignment/nowhere/file.py, or nothing.py") == ["alignment/nowhere/file.py", "nothing.py"]


def _leads(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not heading or heading in _headings(target))


def _headings(page: Path) -> set[str]:
    """As a forge names them in a link: small letters, blanks as hyphens, nothing else but letters and digits."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def _paths(page: Path) -> Iterator[str]:
    for path in PATH.findall(LINK.sub("", page.read_text("utf-8"))):
        yield path.rstrip(".")


def _exists(page: Path, path: str) -> bool:
    roots = [ROOT, TESTS_OF_THE_SERVICE] if page.name == "security.md" else [ROOT]
    return any(any(root.glob(path.rstrip("/"))) for root in roots)


def _is_defined(name: str) -> bool:
    """A package, a module, or what one defines under that name."""
    place = ROOT.joinpath(*name.split("."))
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    module = place.parent.with_suffix(".py")
    defined = rf"^(?:(?:class|def|async def) )?{place.name}\b"
    return module.is_file() and re.search(defined, module.read_text("utf-8"), re.MULTILINE) is not None
