"""Text that is neither JSON nor a table, told by how it begins, so that it is refused by its name and once."""

from __future__ import annotations

import re

KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"---[ \t]*\r?\n|(?:[\w-]+:[ \t]*\r?\n\s*)?-[ ]+[\w\"']+[\"']?:(?:\s|$)|[\w-]+: \S[^\n]*\n[\w-]+: "),
        "YAML, or lines of a name and a value; save it as JSON lines",
    ),
    (re.compile(r"\[\[?[\w.]+\]?\][ \t]*\r?\n\s*[\w-]+[ \t]*="), "TOML; save it as JSON lines"),
    (
        re.compile(r"(?:--[^\n]*\n\s*)*(?:CREATE|INSERT|DROP|BEGIN|SET|PRAGMA|USE|LOCK)\s+\w", re.IGNORECASE),
        "a dump of a database in SQL; export its table as CSV or JSON lines",
    ),
    (
        re.compile(r"(?:export|const|let|var)\s+\w|(?:module\.|window\.)?\w+\s*(?:=\s*[\[{]|\(\s*[\[{])"),
        "a program that holds data (JavaScript or Python); save the data alone, as JSON",
    ),
    (re.compile(r"(?:import|from)\s+\w[\w.]*\s*(?:\n|import\b|as\b)"), "a Python program; save the data as JSON lines"),
    (re.compile(r"(?:```|~~~)"), "Markdown with data in a fence; save what stands in the fence alone"),
    (re.compile(r"\\(?:begin|documentclass|usepackage)\b"), "LaTeX; save its table as CSV"),
    (re.compile(r"<[a-zA-Z][\w:-]*[\s/>]"), "HTML or XML; save its table as CSV or JSON lines"),
    (
        re.compile(r"#[^\n]*\n(?!\s*(?:[\[{#]|//))"),
        "a text that begins with a comment or a heading (#); remove that line, so that the names of columns come first",
    ),
)


def other_text(head: str) -> str | None:
    """What a text that begins like this is, where it is plainly something else."""
    return next((what for kind, what in KINDS if kind.match(head)), None)
