"""docs/licences.md, from what is installed: under which licence each package stands, and what needs it.

python -m tests.support.licences     writes it; `tests/test_licences.py` says when it is stale
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"
CONSTRAINTS = ROOT / "constraints.txt"
TITLE = """# Licences of what Rankloop is built on

Written by `python -m tests.support.licences` from the packages' own metadata; `constraints.txt` has their versions.
`service` is what a deployment installs, `mirrors`, `languages` and `qlora` are its extras; the rest is there for tests
alone: it is neither installed nor shipped with the service. Rankloop itself stands under the Apache License 2.0.

| package | licence | for |
|---|---|---|"""
OURS = "rankloop"
EXTRAS = ("", "mirrors", "languages", "qlora", "test")  # each package is said to be for the first that needs it
NAMES = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "DFSG approved": "",
}


def rows() -> dict[str, tuple[str, str]]:
    """Each package that is installed here and pinned: its licence, and what needs it."""
    needed = {extra or "service": _needs(extra) for extra in EXTRAS}
    pinned = {canonicalize_name(line.partition("==")[0]) for line in CONSTRAINTS.read_text().split()} | {"torch"}
    found = {name: one for name in sorted(pinned) if (one := _installed(name))}
    return {name: (licence(one), _reason(name, needed)) for name, one in found.items()}


def page() -> str:
    return "\n".join([TITLE, *lines()]) + "\n"


def lines() -> list[str]:
    return [f"| {name} | {licence} | {reason} |" for name, (licence, reason) in rows().items()]


def licence(package: Distribution) -> str:
    """By its metadata's expression, else its classifiers, else the first line of the text, else by its file."""
    told = package.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    classes = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [NAMES.get(name, name) for name in classes if name != "OSI Approved"] or [
        NAMES.get(name, name) for name in (told.get("License") or "").strip().splitlines()[:1]
    ]
    return " and ".join(filter(None, named)) or _by_its_file(package)


def _by_its_file(package: Distribution) -> str:
    texts = [file for file in package.files or [] if re.search(r"licen[cs]e", file.name, re.IGNORECASE)]
    for text in texts:
        if "Permission is hereby granted, free of charge" in text.read_text():
            return "MIT"
    return "unknown"


def _reason(name: str, needed: dict[str, set[str]]) -> str:
    return next((what for what, names in needed.items() if name in names), "test")


def _needs(extra: str) -> set[str]:
    """All that this extra of Rankloop needs, near and far."""
    found, waiting = set[str](), [(OURS, extra)]
    while waiting:
        name, asked = waiting.pop()
        for requirement in _requires(name, asked):
            needed = canonicalize_name(requirement.name)
            if needed not in found:
                found.add(needed)
                waiting += [(needed, one) for one in ("", *requirement.extras)]
    return found


def _requires(name: str, extra: str) -> Iterator[Requirement]:
    package = _installed(name)
    for line in _own(extra) if name == OURS else (package.requires if package else None) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _own(extra: str) -> list[str]:
    """From the file: what was written when Rankloop was installed may be old."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: list[str] = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return found


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
