"""Asked of a machine of the cluster before a stage is started on it: does it see the same files, and the same code?

Sent there as it stands, since a machine without the project has no module to find it in: the standard library alone,
words and dictionaries as answers.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path

ANSWER_SECONDS = 120.0  # a worker of Ray starts in one; on a machine where Python is missing, never
MARK = "home.id"  # as annotation_api.db.homes writes it
PACKAGES = ("alignment", "workers")  # what a stage runs
LIBRARIES = ("torch", "transformers")
NO_PROJECT = "has not got Rankloop installed"


def refusal(home: str, mark: str, paths: list[str], versions: dict[str, str]) -> str:
    """Why no stage can run here, as what this machine does or has; empty where one can."""
    return wrong_files(home, mark, paths) or wrong_code(versions)


def wrong_files(home: str, mark: str, paths: list[str]) -> str:
    folder = Path(home)
    if not folder.is_dir():
        return f"has no folder {home}"
    try:
        found = (folder / MARK).read_text().strip()
    except OSError:
        found = ""
    if found != mark:
        return f"has another folder at {home}, not the shared one"
    if not os.access(folder, os.W_OK):
        return f"may not write into {home}"
    missing = [path for path in paths if not Path(path).exists()]
    return f"does not see {missing[0]}" if missing else ""


def wrong_code(wanted: dict[str, str]) -> str:
    here = versions()
    if not here["code"]:
        return NO_PROJECT
    for name, version in wanted.items():
        if here[name] != version:
            what = "Rankloop's code" if name == "code" else name
            return f"has {what} {here[name] or 'nowhere'}, and {version} is wanted"
    return ""


def versions() -> dict[str, str]:
    """What must be the same everywhere: the code by its content, the libraries by their numbers; empty: not there."""
    found = dict.fromkeys(LIBRARIES, "")
    for name in LIBRARIES:
        if importlib.util.find_spec(name):
            found[name] = importlib.metadata.version(name)
    return found | {"code": _code()}


def _code() -> str:
    """The first digits of a hash over every source file; empty where a package is missing."""
    digest = hashlib.sha256()
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            return ""
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
