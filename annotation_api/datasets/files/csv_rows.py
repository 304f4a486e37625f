"""CSV as spreadsheets, pandas, R and annotation tools write it.

A first line `sep=;` names the delimiter; a column without a name (an index, a trailing comma) is left out and
noted when it holds anything; a cell that holds a list of messages as JSON or Python is read as that list.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import limits
from annotation_api.datasets.files.csv_marks import MARKDOWN, marks_in, parted_alike
from annotation_api.datasets.files.csv_quotes import (
    BLANKS,
    ERRORS,
    NOT_DOUBLED,
    SAYS_ERROR,
    check_single,
    skips_blanks,
)
from annotation_api.datasets.files.json_rows import Numbered, Parsed, check_count, check_storable, lines
from annotation_api.datasets.values import Refused, Unreadable
from annotation_api.disarmed import rearm

DELIMITERS = ",;\t|"
_SEP = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d_][\w .:/()\[\]%#-]{0,99}|__index_level_0__|")  # of a column; empty: an index
_INDEX = re.compile(r"(?:Unnamed: \d+|__index_level_0__)?")
ALONE = frozenset({"prompt", "instruction", "question", "text", "query", "user_input", "conversations", "messages"})
CHAT_CELL = re.compile(r'\[\s*\{\s*["\'](?:role|from|content|value)["\']')
OURS = frozenset({"split", "lineage"})
LONGEST_CHAT = 2**20  # characters of a cell that Python's own reader may parse
NOTHING = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "<na>"})
SAYS_NOTHING = Sentence("note-cells-say-nan-none", "cells that say nan, None, null or NA were read as that word")
UNNAMED = Sentence("note-cells-column-without-name", "cells of a column without a name were left out")
AGAIN = Sentence("note-header-again", "lines that repeat the header, as of files joined into one, were left out")
INVISIBLE = " \t\r\n\xa0\ufeff\u200b"  # around a name: blanks, marks of byte order, blanks without width
BLANK = Sentence("note-rows-without-anything-them", "rows without anything in them were left out")
NUMBERED = Sentence("note-header-has-no-name", "the header has no name for the first column, which numbers the rows")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_BETWEEN = re.compile(r"\}\s*\n\s*\{")  # where numpy prints no comma; inside of a text Python would print \\n


@dataclass(frozen=True)
class Header:
    names: tuple[str, ...]
    delimiter: str


def header_of(line: str) -> Header:
    """The names in a header line under the delimiter that parts it best."""
    best = max(DELIMITERS, key=_QUOTED.sub("", line).count)
    try:
        cells = next(csv.reader([line], delimiter=best, skipinitialspace=True), [])
    except csv.Error as error:
        raise Unreadable(
            0, Sentence("csv-header-unreadable", "the CSV header cannot be read: %(error)s", error=error)
        ) from error
    return Header(tuple(cell.strip(INVISIBLE) for cell in cells), best)


def is_csv(head: bytes) -> bool:
    """Whether a file that begins like this, less blanks, is a table: its first line holds names."""
    first = re.split(rb"\r\n|\n|\r", head, maxsplit=1)[0].decode("utf-8", errors="replace")
    if _SEP.fullmatch(first):
        return True
    header = header_of(first)
    names = header.names
    if len(names) == 1:
        return names[0].lower() in ALONE
    if any(names) and all(_NAME.fullmatch(name) for name in names):
        return True
    text = head.decode("utf-8", errors="replace")
    return all(names) and parted_alike(text, header.delimiter, len(names), whole=len(head) < limits.CHUNK // 2)


def csv_rows(reader: io.BufferedReader[Any], notes: Counter[str]) -> Iterator[Numbered]:
    """Each record after the header, from 1; one that is no record is refused and the next is read."""
    csv.field_size_limit(limits.MAX_ROW_BYTES)
    head = reader.peek(limits.CHUNK)[: limits.CHUNK].decode("utf-8", errors="replace").lstrip()
    text = _Lines(reader)
    first = next((line for line in text if line.strip()), "").strip("\r\n")
    separator = _SEP.fullmatch(first)
    header = header_of(next(text, "").strip("\r\n") if separator else first)
    if separator:
        header = Header(header_names(header.names, separator.group(1)), separator.group(1))
    _check(header)
    marks = marks_in(head, header.delimiter)
    if blanks := skips_blanks(head, header.delimiter):
        notes[BLANKS] = 1
    records = csv.reader(text, delimiter=header.delimiter, strict=True, skipinitialspace=blanks)
    number = 0
    while True:
        text.size = 0
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, Refused("", _no_csv(error))
            continue
        if not cells:
            continue
        number += 1
        if number in marks.records:
            notes[marks.note] = 1
            continue
        if marks.note == MARKDOWN:
            cells = [cell.strip() for cell in cells]
        if number == 1 and _is_numbered(header, cells):
            notes[NUMBERED] = 1
            header = Header(("", *header.names), header.delimiter)
        if [cell.strip(INVISIBLE) for cell in cells] == list(header.names):
            notes[AGAIN] += 1
        elif any(cell.strip() for cell in cells):
            yield number, _row(header, cells, notes)
        else:
            notes[BLANK] += 1


def _no_csv(error: csv.Error) -> Sentence:
    return NOT_DOUBLED if "expected after" in str(error) else Sentence("no-csv", "is not CSV: %(error)s", error=error)


def _is_numbered(header: Header, cells: list[str]) -> bool:
    """R's `write.table`: the header is one short, for row numbers that nobody named."""
    return len(cells) == len(header.names) + 1 and cells[0].strip() == "1" and bool(cells[-1].strip())


def header_names(names: tuple[str, ...], delimiter: str) -> tuple[str, ...]:
    """The names again, parted by the delimiter that the file itself names."""
    return names if len(names) > 1 else tuple(part.strip() for part in names[0].split(delimiter)) if names else ()


def _check(header: Header) -> None:
    named = [name for name in header.names if not _INDEX.fullmatch(name)]
    twice = [name for name, times in Counter(named).items() if times > 1]
    if twice:
        raise Unreadable(
            0, Sentence("csv-column-twice", "the CSV header names a column twice: %(twice)s", twice=", ".join(twice))
        )


class _Lines:
    """The lines of a CSV file; `size` counts the bytes since it was set back, which is once a record."""

    def __init__(self, reader: io.BufferedReader[Any]) -> None:
        self._lines, self.size, self.count = lines(_line_ends(reader)), 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.size += limits.MAX_ROW_BYTES + 1 if line is None else len(line)
        self.count += 1
        if line is None or self.size > limits.MAX_ROW_BYTES:
            most = f"{limits.MAX_ROW_BYTES // 2**20} MiB"
            raise Unreadable(
                0,
                Sentence(
                    "csv-record-long",
                    "a record of the CSV file is longer than %(most)s; a quote may be missing",
                    most=most,
                ),
            )
        check_count(self.count)
        return line.decode("utf-8", errors="surrogateescape")


def _line_ends(reader: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    """Old Mac line ends (CR alone) as LF."""
    end = re.search(rb"\r\n?|\n", reader.peek(limits.CHUNK)[: limits.CHUNK].lstrip())
    if end and end[0] == b"\r" and end.end() < len(reader.peek(limits.CHUNK).lstrip()):
        return io.BufferedReader(_FromMac(reader), limits.CHUNK)
    return reader


class _FromMac(io.RawIOBase):
    def __init__(self, source: io.BufferedReader[Any]) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


def _row(header: Header, cells: list[str], notes: Counter[str]) -> Parsed:
    source = header.delimiter.join(cells).encode(errors="surrogateescape")
    width = len(header.names)
    while len(cells) > width and not cells[-1]:
        cells.pop()  # trailing delimiters of a spreadsheet
    if len(cells) != width:
        message = Sentence(
            "csv-cells",
            "has %(cells)s cells where the header has %(width)s; quote cells that hold the delimiter",
            cells=len(cells),
            width=width,
        )
        return Refused("", message, source)
    if set(header.names) >= OURS:  # an export of ours
        cells = [rearm(cell) for cell in cells]
    try:
        check_single(cells)
        row = {name: _cell(name, cell, notes) for name, cell in _named(header, cells, notes)}
        check_storable(row)
    except Refused as refused:
        refused.source = source
        return refused
    return row


def _named(header: Header, cells: list[str], notes: Counter[str]) -> Iterator[tuple[str, str]]:
    for i, (name, cell) in enumerate(zip(header.names, cells, strict=True)):
        if not _INDEX.fullmatch(name):
            yield name, cell
        elif cell.strip() and i > 0:  # a first column without a name is an index
            notes[UNNAMED] += 1


def _cell(name: str, cell: str, notes: Counter[str]) -> Any:
    if (said := cell.strip().lower()) in NOTHING:
        notes[SAYS_NOTHING] += 1
    elif said in ERRORS:
        notes[SAYS_ERROR] += 1
    return _chat(name, cell) if CHAT_CELL.match(cell) else cell


def _chat(name: str, cell: str) -> list[Any]:
    """A list of messages that was written into a cell, as JSON or as Python prints it."""
    try:
        value = json.loads(cell)
    except ValueError:
        value = _python_list(name, cell)
    if not isinstance(value, list):
        raise Refused(
            name,
            Sentence(
                "chat-unreadable", "holds a chat that cannot be read as a list of messages; save the file as JSON lines"
            ),
        )
    return value


def _python_list(name: str, cell: str) -> Any:
    why = Sentence(
        "chat-of-python", "holds a chat as Python prints it, which cannot be read back; save the file as JSON lines"
    )
    if len(cell) > LONGEST_CHAT:
        raise Refused(name, why)
    try:
        return ast.literal_eval(_BETWEEN.sub("}, {", cell))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Refused(name, why) from None
