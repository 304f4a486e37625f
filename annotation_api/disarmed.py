"""Cells that no spreadsheet runs as a formula: written with an apostrophe before them, and read back without it."""

from __future__ import annotations

import re

# What a cell that is run as a formula starts with. Spreadsheets overlook blanks, separators and marks before it that
# are not seen (signs of control, a byte order mark, spaces without width, marks of direction); a tab or a line end
# alone may begin a new cell. The wide and the small forms are as good as the plain ones.
UNSEEN = (
    r"\s,;|\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
)
FORMULA = re.compile(rf"[\t\r\n]|[{UNSEEN}]*[=+\-@＝＋－＠﹦﹢﹣﹫]")


def disarm(text: str) -> str:
    """An apostrophe more before a formula, also before one that has some, so that `rearm` finds what it was."""
    return f"'{text}" if FORMULA.match(text.lstrip("'")) else text


def rearm(text: str) -> str:
    return text[1:] if text.startswith("'") and FORMULA.match(text.lstrip("'")) else text
