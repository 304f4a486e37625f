"""Cells that no spreadsheet runs as a formula: written with an apostrophe before them, and read back without it."""

from __future__ import annotations

import re

# What a cell that is run as a formula starts with. Spreadsheets overlook blanks, separators and marks before it that
# are not seen (a byte order mark, spaces without width); a tab or a line end alone may begin a new cell.
FORMULA = re.compile(r"[\t\r\n]|[\s,;|\u00ad\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠]")


def disarm(text: str) -> str:
    """An apostrophe more before a formula, also before one that has some, so that `rearm` finds what it was."""
    return f"'{text}" if FORMULA.match(text.lstrip("'")) else text


def rearm(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text.lstrip("'")) else text
