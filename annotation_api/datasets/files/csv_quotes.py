"""How the cells of a CSV file are quoted, where it is not as CSV has it: blanks before a quote, and single quotes."""

from __future__ import annotations

import re

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Refused

BLANKS = Sentence(
    "note-blanks-behind-delimiter",
    "blanks behind the delimiter were left out, as the file has one before its quotes or names",
)
ERRORS = frozenset({"#name?", "#ref!", "#value!", "#div/0!", "#null!", "#num!", "#error!", "#spill!"})
SAYS_ERROR = Sentence(
    "note-cells-say-error",
    "cells that hold an error of a spreadsheet (such as #NAME?) in place of their text were read as that word",
)
_SINGLE = re.compile(r"'[^']*'", re.DOTALL)
NOT_DOUBLED = Sentence(
    "csv-not-doubled",
    'holds a quote that is not doubled: inside of a quoted cell a quote is written twice, as in "say ""hi"""',
)


def skips_blanks(head: str, delimiter: str) -> bool:
    """Whether blanks behind the delimiter belong to no cell: every name after the first has one, or a quote has."""
    if delimiter.isspace():
        return False
    first, _, rest = head.partition("\n")
    names = first.split(delimiter)[1:]
    if '"' not in first and names and all(name.startswith(" ") and name.strip() for name in names):
        return True
    return _quoted_behind_blanks(first if '"' in first else "", delimiter) or _quoted_behind_blanks(rest, delimiter)


def _quoted_behind_blanks(text: str, delimiter: str) -> bool:
    """Whether a cell begins with blanks and then a quote; what stands inside of other quotes is no beginning."""
    mark = re.escape(delimiter)
    cell = re.compile(rf'(?P<blank> +")|"(?:[^"]|"")*(?:"|\Z)[^{mark}\n]*|[^{mark}\n]*')
    at, begins = 0, False  # a record can be indented: only behind a delimiter a blank says something
    while at < len(text):
        found = cell.match(text, at)
        assert found is not None
        if found["blank"] and begins:
            return True
        at = text.find('"', at) if found["blank"] else found.end()
        if not found["blank"]:
            begins, at = text[at : at + 1] == delimiter, at + 1
    return False


def check_single(cells: list[str]) -> None:
    """Refuse a record whose cells all stand in single quotes, which CSV does not know."""
    if len(cells) > 1 and all(_SINGLE.fullmatch(cell.strip()) for cell in cells):
        raise Refused(
            "",
            Sentence(
                "csv-single-quotes", "has its cells in single quotes, which CSV takes for text; use double quotes"
            ),
        )
