"""From the bytes of an upload to numbered rows: gzip or plain; JSON lines, a JSON array, or CSV.

One row is held at a time, whatever the size of the file. Limits are stated here and checked while
reading, so that neither a gzip bomb nor an endless line can fill the memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

from annotation_api.datasets.formats.beginnings import GZIP_MAGIC, other_kind
from annotation_api.datasets.formats.elements import array_elements
from annotation_api.datasets.formats.values import Refused, Unreadable, show

MAX_ROW_BYTES = 8 * 2**20  # one line, array element or CSV cell
MAX_UNPACKED_BYTES = 4 * 2**30  # the whole file after gunzip
MAX_ROWS = 5_000_000  # lines, array elements or CSV records; bounds the time that one file can take
MAX_SECONDS = 600  # of computing on one file; a file of 2,000,000 records needs about 200
MAX_DEPTH = 200  # lists and objects inside one another; a long conversation tree needs about 60
CHUNK = 2**16

UTF8_BOM = b"\xef\xbb\xbf"
Numbered = tuple[int, "dict[str, Any] | Refused"]


class Readable(Protocol):
    """All that is asked of a file."""

    def read(self, size: int, /) -> bytes: ...


class _Counted(io.RawIOBase):
    """Passes bytes on and stops at MAX_UNPACKED_BYTES, or when the thread computed for MAX_SECONDS."""

    def __init__(self, source: gzip.GzipFile | io.BufferedReader[Any]) -> None:
        self._source, self._read, self._started = source, 0, time.thread_time()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._read += len(data)
        if self._read > MAX_UNPACKED_BYTES:
            raise Unreadable(0, f"the unpacked file is larger than {MAX_UNPACKED_BYTES // 2**30} GiB; split it")
        if time.thread_time() - self._started > MAX_SECONDS:
            raise Unreadable(0, f"reading took longer than {MAX_SECONDS} seconds; split the file")
        buffer[: len(data)] = data
        return len(data)


def rows(stream: Readable, *, is_csv: bool = False) -> Iterator[Numbered]:
    """Every row with its number from 1: an object, or why it is none.

    Rows are counted by physical line; array elements and CSV records (after the header) likewise.
    `is_csv` skips the look at the content. Raises Unreadable when the file itself is at fault.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    number = 0
    try:
        for number, value in _rows(_unpacked(stream), is_csv):
            yield number, value
            _check_count(number)
    except Unreadable as error:
        raise Unreadable(error.row or number, error.message) from error
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(number + 1, f"the gzip file is damaged or cut short ({error}); copy it again") from error


def _check_count(number: int) -> None:
    if number >= MAX_ROWS:
        raise Unreadable(number, f"the file holds more than {MAX_ROWS:,} rows; split it")


def _unpacked(stream: Readable) -> io.BufferedReader[Any]:
    """The plain bytes, past a byte order mark."""
    head = io.BufferedReader(_Plain(stream), CHUNK)
    plain = gzip.GzipFile(fileobj=head) if head.peek(2)[:2] == GZIP_MAGIC else head
    reader: io.BufferedReader[Any] = io.BufferedReader(_Counted(plain), CHUNK)
    start = reader.peek(CHUNK)
    if other := other_kind(start):
        raise Unreadable(0, f"the file is {other}")
    if start[:3] == UTF8_BOM:
        reader.read(3)
    return reader


class _Plain(io.RawIOBase):
    """Any object with `read` as a raw stream (an upload is not always an `io` class)."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _rows(reader: io.BufferedReader[Any], is_csv: bool) -> Iterator[Numbered]:
    """Every row as a value, JSON or CSV."""
    head = reader.peek(CHUNK)[:CHUNK].lstrip()
    if is_csv or (head[:1] not in (b"[", b"{") and _is_csv_header(head)):
        yield from _csv_rows(reader)
        return
    for number, data in _json_rows(reader, is_array=head[:1] == b"["):
        try:
            yield number, parse_object(data)
        except Refused as refused:
            refused.source = b"" if data is None else data
            yield number, refused


def _json_rows(reader: io.BufferedReader[Any], *, is_array: bool) -> Iterator[tuple[int, bytes | None]]:
    if is_array:
        yield from enumerate(array_elements(reader, MAX_ROW_BYTES), start=1)
    else:
        for number, line in enumerate(_lines(reader), start=1):
            if line is None or line.strip():
                yield number, line
            else:
                _check_count(number)


def _lines(reader: io.BufferedReader[Any]) -> Iterator[bytes | None]:
    """Physical lines; None stands for one that is too long."""
    while line := reader.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES:
            yield line
            continue
        while not line.endswith(b"\n") and (line := reader.readline(CHUNK)):
            pass
        yield None


def parse_object(data: bytes | None) -> dict[str, Any]:
    """One JSON object; refused with the reason when it is not one that can be stored."""
    if data is None:
        raise Refused("", f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB")
    try:
        value = json.loads(_decode(data), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Refused("", f"is not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise Refused("", f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        most = sys.get_int_max_str_digits()
        raise Refused("", f"holds a whole number of more than {most} digits; shorten it or write it as text") from None
    if not isinstance(value, dict):
        raise Refused("", f"must be an object with named fields, it is {show(value)}")
    check_storable(value)
    return value


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            "",
            f"byte 0x{data[error.start]:02x} at position {error.start} is not UTF-8 "
            "(perhaps Latin-1, Windows-1252 or GB 18030); save the file as UTF-8",
        ) from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(twice, "stands twice in one object; keep one")
    return result


def _no_constant(name: str) -> NoReturn:
    raise Refused("", f"is not JSON: {name} is no number; use a finite number or null")


def check_storable(value: object) -> None:
    """Refuse what Postgres or UTF-8 cannot hold (NUL, lone surrogates) and nesting beyond MAX_DEPTH."""
    waiting: list[tuple[object, str, int]] = [(value, "", 0)]
    while waiting:
        item, field, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise Refused("", f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, str):
            _check_text(item, field)
        elif isinstance(item, dict):
            for name, inner in item.items():
                _check_text(name, field)
                waiting.append((inner, f"{field}.{name}" if field else name, depth + 1))
        elif isinstance(item, list):
            waiting.extend((inner, f"{field}[{i}]", depth + 1) for i, inner in enumerate(item))


def _check_text(text: str, field: str) -> None:
    if "\x00" in text:
        raise Refused(field, "holds a NUL character (U+0000); remove it")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise Refused(
            field, f"holds a lone surrogate (U+{code:04X}) or a byte that is not UTF-8 at character {error.start}"
        ) from None


# ---------------------------------------------------------------- CSV


def _header_of(line: str) -> tuple[list[str], str]:
    """The names in a header line under the delimiter that parts it best."""
    best = max(",;\t", key=line.count)
    return next(csv.reader([line], delimiter=best), []), best


def _is_csv_header(head: bytes) -> bool:
    first = head.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    names, _ = _header_of(first)
    return len(names) > 1 and all(name.strip().replace("_", "").replace(" ", "").isalnum() for name in names)


def _csv_rows(reader: io.BufferedReader[Any]) -> Iterator[Numbered]:
    lines = _CsvLines(reader)
    names, delimiter = _header_of(next(lines, "").strip())
    if len(set(names)) < len(names):
        raise Unreadable(0, f"the CSV header names a column twice: {', '.join(names)}")
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    number = 0
    while True:
        lines.size = 0
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, Refused("", f"is not CSV: {error}")
            continue
        if cells:
            number += 1
            yield number, _csv_object(names, cells)


class _CsvLines:
    """The lines of a CSV file; `size` counts the bytes since it was set back, which is once a record."""

    def __init__(self, reader: io.BufferedReader[Any]) -> None:
        self._lines, self.size, self.count = _lines(reader), 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.size += MAX_ROW_BYTES + 1 if line is None else len(line)
        self.count += 1
        if line is None or self.size > MAX_ROW_BYTES:
            most = f"{MAX_ROW_BYTES // 2**20} MiB"
            raise Unreadable(0, f"a record of the CSV file is longer than {most}; a quote may be missing")
        _check_count(self.count)
        return line.decode("utf-8", errors="surrogateescape")


def _csv_object(names: list[str], cells: list[str]) -> dict[str, Any] | Refused:
    source = ",".join(cells).encode(errors="surrogateescape")
    if len(cells) != len(names):
        message = f"has {len(cells)} cells where the header has {len(names)}; quote cells that hold the delimiter"
        return Refused("", message, source)
    row = {name.strip(): cell for name, cell in zip(names, cells, strict=True)}
    try:
        check_storable(row)
    except Refused as refused:
        refused.source = source
        return refused
    return row
