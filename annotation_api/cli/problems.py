"""What was wrong with a request, in the words of a command line: its options and arguments, no pointers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_ADDRESS = ("path", "query", "header")  # what a pointer into a request begins with, if not with the body's /
OPTIONS = {  # by the names in queries for which there is an option of another name, or an argument
    "created_by": "--mine", "epoch": "--attempt", "seq": "--noted", "sha256": "--noted", "job": "JOB", "model": "JOB"
}  # fmt: skip


def told(problem: Mapping[str, Any]) -> str:
    """One of a refusal's problems: the option or the argument that it is about, and what is wrong with it."""
    pointer = str(problem.get("pointer", ""))
    where, _, name = pointer.partition(":")
    if where == "query":
        first = name.partition(".")[0]  # of several values
        name = OPTIONS.get(first, f"--{first.replace('_', '-')}")
    place = repr(problem.get("value")) if where == "path" else name if where in OF_ADDRESS else pointer
    return f"{place}: {problem.get('message', '')}" if place else str(problem.get("message", ""))


def of_address(problem: Mapping[str, Any]) -> bool:
    """Whether it is about the address that a command asked, not about a body."""
    return str(problem.get("pointer", "")).partition(":")[0] in OF_ADDRESS
