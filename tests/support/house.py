"""The house in numbers: files, lines, functions, what is too long or too full, circles, names with two meanings.

    python -m tests.support.house

Ends with 1 where a folder holds too many modules, siblings import one another in a circle, or a class name of the
product has two meanings. `test_house.py` asks the same.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("alignment", "annotation_api", "workers")
LONG_FILE, FULL_FOLDER = 300, 16
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "ray"}  # no light process loads them


def files(*roots: str) -> list[Path]:
    return sorted(path for root in roots for path in (ROOT / root).rglob("*.py"))


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def functions(paths: list[Path]) -> Iterator[tuple[int, str]]:
    """The length of each function, and where it stands."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{shown(path)}:{node.lineno} {node.name}"


def long_files(paths: list[Path]) -> list[str]:
    return [f"{lines(path)} {shown(path)}" for path in paths if lines(path) > LONG_FILE]


def full_folders(paths: list[Path]) -> list[str]:
    held = Counter(path.parent for path in paths)
    return [f"{count} {shown(folder)}" for folder, count in sorted(held.items()) if count > FULL_FOLDER]


def circles() -> list[str]:
    """Siblings, modules or packages, that import one another, directly or by way of others."""
    graph = grimp.build_graph(*PACKAGES)
    found = []
    for parent in [*PACKAGES, *(name for package in PACKAGES for name in graph.find_descendants(package))]:
        reached = {child: _reached(graph, child, graph.find_children(parent)) for child in graph.find_children(parent)}
        found += [
            f"{a} <-> {b}"
            for a in sorted(reached)
            for b in sorted(reached)
            if a < b and b in reached[a] and a in reached[b]
        ]
    return found


def _reached(graph: grimp.ImportGraph, start: str, siblings: set[str]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        inside = {here} | graph.find_descendants(here)
        imported = {name for module in inside for name in graph.find_modules_directly_imported_by(module)}
        new = {sibling for sibling in siblings - seen if imported & ({sibling} | graph.find_descendants(sibling))}
        seen |= new - {here}
        waiting += new - {here}
    return seen


def class_names(paths: list[Path]) -> list[str]:
    """Names of classes that are defined more than once, with the places."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{shown(path)}:{node.lineno}")
    return [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def main() -> int:
    product = files(*PACKAGES)
    for root in (*PACKAGES, "tests"):
        paths = files(root)
        print(f"{root}: {len(paths)} files, {sum(map(lines, paths))} lines")
    sizes = sorted(functions(product))
    print(f"functions of the product: {len(sizes)}, median {median(size for size, _ in sizes):g} lines")
    print("the longest: " + ", ".join(f"{size} {where}" for size, where in sizes[:-6:-1]))
    faults = 0
    for title, found, counts in (
        (f"files of the product over {LONG_FILE} lines", long_files(product), False),
        (f"folders over {FULL_FOLDER} modules", full_folders(files(*PACKAGES, "tests")), True),
        ("circles", circles(), True),
        ("class names with several meanings", class_names(product), True),
    ):
        print(f"{title}: {len(found)}")
        for line in found:
            print(f"    {line}")
        faults += len(found) if counts else 0
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
