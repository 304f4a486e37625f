"""The pages say what is there: each path, module and link that they name exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation_api.cli import command_line
from tests.support import house, reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {reference.PAGE})]
PACKAGES = "alignment|annotation_api|workers|tests|migrations"
TESTS_OF_THE_SERVICE = ROOT / "tests" / "annotation_api"  # security.md names tests below it
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./-])((?:{PACKAGES}|docs|deploy)/[\w./*-]*|[\w./-]+\.py)(?![\w-])")
OURS = re.compile(r"RANKLOOP_[A-Z_]*[A-Z]")
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


def test_every_variable_that_the_code_reads_is_in_the_reference() -> None:
    page = reference.PAGE.read_text("utf-8")
    read = {
        name
        for path in house.files(*house.PACKAGES, "migrations")
        for name in _variables(ast.parse(path.read_text("utf-8")))
    }
    assert {"RANKLOOP_URL", "RANKLOOP_POSTGRES_BIN", "OMP_NUM_THREADS"} <= read  # it is found at all
    assert [name for name in sorted(read - {*reference.OUR_OWN}) if f"| `{name}` |" not in page] == []


def test_every_exit_code_of_the_command_line_is_in_its_table() -> None:
    for path in house.files("annotation_api/cli"):
        ends = [node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Return)]
        found = {one.value for one in ends if isinstance(one, ast.Constant) and type(one.value) is int}
        assert found <= command_line.EXITS.keys(), path


def _variables(tree: ast.AST) -> Iterator[str]:
    """The names of variables: what an environment is asked for, and every text that is one of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and OURS.fullmatch(str(node.value)):
            yield str(node.value)
        asked = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environment(node.value):
            asked = node.slice
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_environment(node.func.value):
            asked = next(iter(node.args), None)
        if isinstance(asked, ast.Constant) and re.fullmatch("[A-Z_]+", str(asked.value)):
            yield str(asked.value)


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node).endswith(("environ", "environment"))


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
