"""What commands print: JSON for scripts, a few readable lines for people; remarks go to standard error.

Names and texts are other people's: what would steer a terminal, or turn a line round, is shown as its code.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from alignment.untrusted.texts import on_a_line, shown


def without_password(url: str) -> str:
    """An address as it was typed, without the name and the password that may stand before its host."""
    return re.sub(r"^(\w+://)?.*@", r"\1", url)  # up to the last @: passwords hold slashes that should have been coded


def say(text: str = "") -> None:
    """A line for people."""
    print(shown(text), flush=True)


def emit(value: Any) -> None:
    """One line of JSON."""
    print(shown(json.dumps(value, ensure_ascii=False)), flush=True)  # in JSON these codes are the signs themselves


def remark(text: str) -> None:
    print(shown(text), file=sys.stderr, flush=True)


def unread() -> None:
    """Nobody reads standard output any more: the rest of it goes nowhere, and ends no command."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Columns wide enough for their longest cell."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells), 0) for i, name in enumerate(columns)]
    for row in [list(columns), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not rows:
        say("(none)")


def facts(row: Mapping[str, Any]) -> None:
    """One line a field."""
    width = max(map(len, row), default=0)
    for name, value in row.items():
        say(f"{name.ljust(width)}  {_cell(value)}")


def size(count: int) -> str:
    """Bytes for people: 1.2 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def span(seconds: float) -> str:
    """2 h 5 min, 3 min 20 s, 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return on_a_line(json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value))
