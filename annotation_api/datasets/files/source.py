"""From the bytes of an upload to numbered rows: packed or plain; JSON, CSV, Parquet or Arrow.

One row is held at a time, whatever the size of the file (a few hundred of Parquet or Arrow).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import zstandard

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import limits
from annotation_api.datasets.files.beginnings import is_columnar
from annotation_api.datasets.files.columnar import columnar_rows
from annotation_api.datasets.files.containers import Readable, as_utf8, unpacked
from annotation_api.datasets.files.csv_rows import csv_rows, is_csv
from annotation_api.datasets.files.json_rows import Numbered, check_count, json_rows
from annotation_api.datasets.files.texts import other_text
from annotation_api.datasets.values import Unreadable


class Source:
    """Every row of a file with its number from 1: an object, or why it is none.

    Rows are counted by physical line; array elements, CSV records (after the header) and table rows likewise.
    `as_csv` skips the look at the content. Iterating raises Unreadable when the file itself is at fault.
    `notes` says what was done to read it, with how often.
    """

    def __init__(self, stream: Readable, *, as_csv: bool = False) -> None:
        self._stream, self._as_csv = stream, as_csv
        self.notes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Numbered]:
        number = 0
        try:
            for number, value in self._rows():
                yield number, value
                check_count(number)
        except Unreadable as error:
            raise Unreadable(error.row or number, error.message) from error
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, zstandard.ZstdError) as error:
            raise Unreadable(
                number + 1,
                Sentence("file-damaged-at", "the file is damaged or cut short (%(error)s); copy it again", error=error),
            ) from error

    def _rows(self) -> Iterator[Numbered]:
        plain = unpacked(self._stream, self.notes)
        if is_columnar(plain.peek(8)):
            yield from columnar_rows(plain, self.notes)
            return
        reader: io.BufferedReader[Any] = as_utf8(plain, self.notes)
        head = reader.peek(limits.CHUNK)[: limits.CHUNK].lstrip()
        if self._as_csv or (head[:1] not in (b"[", b"{") and is_csv(head)):
            yield from csv_rows(reader, self.notes)
        elif other := other_text(head.decode("utf-8", errors="replace")):
            raise Unreadable(0, Sentence("file-is-other", "the file is %(other)s", other=other))
        else:
            yield from json_rows(reader, head, self.notes)


def all_but_the_last(rows: Iterable[Numbered]) -> Iterator[Numbered]:
    """The whole rows of a file that was cut: the last may be half a row, and where it ends says nothing.

    Raises Unreadable when no row is whole.
    """
    held: Numbered | None = None
    whole = 0
    try:
        for row in rows:
            if held is not None:
                whole += 1
                yield held
            held = row
    except Unreadable:
        if held is None:
            raise
    if not whole:
        raise Unreadable(0, Sentence("no-whole-row", "its beginning holds no whole row; look at the whole file"))
