"""Records of a table that are none: the rule under a Markdown header, and what Qualtrics writes below its own."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass

from alignment.shared.sentence import Sentence

MARKDOWN = Sentence("note-markdown-line", "the line under the header of a Markdown table was left out")
QUALTRICS = Sentence(
    "note-qualtrics-lines",
    "the two lines of questions and ids that Qualtrics writes below its header were left out",
)
_RULE = re.compile(r"\s*:?-{2,}:?\s*")
_ID = re.compile(r'\s*\{"ImportId":')


@dataclass(frozen=True)
class NoRecords:
    """The numbers of such records, from 1, and what is said of them."""

    records: tuple[int, ...] = ()
    note: str = ""


def marks_in(head: str, delimiter: str) -> NoRecords:
    """What stands behind the header of a file that begins like this."""
    try:
        rows = list(itertools.islice(csv.reader(head.splitlines(keepends=True), delimiter=delimiter), 3))
    except csv.Error:
        return NoRecords()
    if len(rows) > 1 and delimiter == "|" and _all(rows[1], _RULE):
        return NoRecords((1,), MARKDOWN)
    if len(rows) > 2 and _all(rows[2], _ID):
        return NoRecords((1, 2), QUALTRICS)
    return NoRecords()


def _all(cells: list[str], what: re.Pattern[str]) -> bool:
    said = [cell for cell in cells if cell.strip()]
    return bool(said) and all(what.match(cell) for cell in said)


def parted_alike(head: str, delimiter: str, width: int, whole: bool) -> bool:
    """Whether the records after the header have as many cells as it: a table, whatever its columns are called."""
    try:
        rows = [row for row in csv.reader(head.splitlines(keepends=True), delimiter=delimiter) if row]
    except csv.Error:
        return False
    seen = rows[1:] if whole else rows[1:-1]
    return width > 1 and bool(seen) and all(len(row) == width for row in seen[:20])
