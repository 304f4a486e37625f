"""JSON in the shapes in which it is saved: lines, an array, objects over several lines or without any line end,
an array inside an object, and pandas' columns."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NoReturn

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import limits
from annotation_api.datasets.files.columns_of import ASKS, columns
from annotation_api.datasets.files.elements import WRAPPERS, array_elements, whole_values, wrapped_elements
from annotation_api.datasets.values import Refused, Unreadable, show

Parsed = dict[str, Any] | Refused
Numbered = tuple[int, Parsed]

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:\s*\[\s*\{)?|[\[\]{}]')
_PIECE_OF_ONE = (b"{", b"[", b",", b":")  # what the first line of an object over several lines ends with
BEFORE = b"\xef\xbb\xbf\x1e"  # what may stand before a line's object: a byte order mark, RFC 7464's mark of a record
COMMENTS = (b"//", b"/*", b"#")
COLUMNS = Sentence("note-file-holds-columns-not", "the file holds columns, not rows; each index was read as one row")


class JsonLayout(Enum):
    """How the rows of a JSON file are laid out."""

    LINES = auto()
    ARRAY = auto()
    WRAPPED = auto()
    VALUES = auto()


def layout_of(head: bytes) -> JsonLayout:
    """Told by the beginning of the file, less blanks."""
    if head[:1] == b"[":
        return JsonLayout.ARRAY
    first, newline, rest = head.partition(b"\n")
    first = first.rstrip()
    if _is_wrapped(head) and not (rest.lstrip()[:1] == b"{" and _is_whole(first)):
        return JsonLayout.WRAPPED
    if (newline and first.endswith(_PIECE_OF_ONE)) or _several(first):
        return JsonLayout.VALUES
    return JsonLayout.LINES


def _is_whole(line: bytes) -> bool:
    """Whether a line is one JSON value: where another follows it, both are rows, whatever names they have."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_wrapped(head: bytes) -> bool:
    """Whether the first object itself, not one inside it, names an array of objects as a wrapper is named.

    An object that asks something is a row, whatever its lists are called.
    """
    depth = 0
    for token in _TOKEN.finditer(head):
        if token[0][:1] in b"[{":
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                return False
        elif depth == 1 and token[1] in ASKS and not token[2]:
            return False
        elif token[2]:
            if depth == 1 and token[1].decode(errors="replace").lower() in WRAPPERS:
                return True
            depth += 2
    return False


def _several(line: bytes) -> bool:
    """Whether one line holds several objects without a line end between them."""
    try:
        _, end = json.JSONDecoder().raw_decode(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return False
    return line.decode("utf-8", errors="replace")[end:].lstrip().startswith("{")


def json_rows(reader: io.BufferedReader[Any], head: bytes, notes: Counter[str]) -> Iterator[Numbered]:
    """Each row from 1, by physical line or by element."""
    layout = layout_of(head)
    if layout is JsonLayout.LINES:
        yield from _objects(_parsed(_numbered_lines(reader)), notes)
    elif layout is JsonLayout.VALUES:
        yield from _objects(_parsed(enumerate(whole_values(reader, limits.MAX_ROW_BYTES), start=1)), notes)
    elif layout is JsonLayout.ARRAY:
        yield from _parsed(enumerate(array_elements(reader, limits.MAX_ROW_BYTES), start=1))
    else:
        arrays: list[str] = []
        yield from _parsed(enumerate(wrapped_elements(reader, limits.MAX_ROW_BYTES, arrays), start=1))
        if len(arrays) > 1:
            english = "the arrays %(names)s of the file were read one after another"
            notes[Sentence("note-arrays-in-turn", english, names=", ".join(arrays[:6]))] = 1


def _objects(rows: Iterator[Numbered], notes: Counter[str]) -> Iterator[Numbered]:
    """Objects one after another; a single one may hold the columns of a table."""
    first, second = next(rows, None), next(rows, None)
    if first and not second and isinstance(first[1], dict) and (table := columns(first[1])) is not None:
        notes[COLUMNS] = 1
        yield from enumerate(table, start=1)
        return
    yield from (row for row in (first, second) if row)
    yield from rows


def _parsed(rows: Iterator[tuple[int, bytes | None]] | enumerate[bytes | None]) -> Iterator[Numbered]:
    for number, data in rows:
        try:
            yield number, parse_object(data)
        except Refused as refused:
            refused.source = b"" if data is None else data
            yield number, refused


def _numbered_lines(reader: io.BufferedReader[Any]) -> Iterator[tuple[int, bytes | None]]:
    for number, line in enumerate(lines(reader), start=1):
        if line is None or line.strip():
            yield number, line and line.lstrip(BEFORE)
        else:
            check_count(number)


def lines(reader: io.BufferedReader[Any]) -> Iterator[bytes | None]:
    """Physical lines; None stands for one that is too long."""
    while line := reader.readline(limits.MAX_ROW_BYTES + 1):
        if len(line) <= limits.MAX_ROW_BYTES:
            yield line
            continue
        while not line.endswith(b"\n") and (line := reader.readline(limits.CHUNK)):
            pass
        yield None


def check_count(number: int) -> None:
    if number >= limits.MAX_ROWS:
        raise Unreadable(
            number,
            Sentence(
                "too-many-rows", "the file holds more than %(MAX_ROWS)s rows; split it", MAX_ROWS=f"{limits.MAX_ROWS:,}"
            ),
        )


def parse_object(data: bytes | None) -> dict[str, Any]:
    """One JSON object; refused with the reason when it is not one that can be stored."""
    if data is None:
        raise Refused(
            "",
            Sentence(
                "row-too-long",
                "the row is longer than %(MAX_ROW_BYTES)s MiB",
                MAX_ROW_BYTES=limits.MAX_ROW_BYTES // 2**20,
            ),
        )
    try:
        value = json.loads(_decode(data), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if why := _why_no_json(data, error):
            raise Refused("", why) from None
        if error.pos == 0 and data.strip():  # begins as no value does
            raise Refused(
                "",
                Sentence(
                    "row-no-json-no-table",
                    "is not JSON: %(msg)s at column 1, and the first line of the file is no table's: it names no "
                    "columns parted by commas, semicolons, tabs or |",
                    msg=error.msg,
                ),
            ) from None
        raise Refused(
            "", Sentence("row-no-json", "is not JSON: %(msg)s at column %(colno)s", msg=error.msg, colno=error.colno)
        ) from None
    except RecursionError:
        raise Refused(
            "", Sentence("row-nested", "is nested deeper than %(MAX_DEPTH)s levels", MAX_DEPTH=limits.MAX_DEPTH)
        ) from None
    except ValueError:
        most = sys.get_int_max_str_digits()
        raise Refused(
            "",
            Sentence(
                "row-digits",
                "holds a whole number of more than %(most)s digits; shorten it or write it as text",
                most=most,
            ),
        ) from None
    if not isinstance(value, dict):
        raise Refused(
            "", Sentence("row-no-object", "must be an object with named fields, it is %(value)s", value=show(value))
        )
    check_storable(value)
    return value


def _why_no_json(data: bytes, error: json.JSONDecodeError) -> Sentence | None:
    """What people write that looks like JSON, by its name."""
    if data.lstrip().startswith(COMMENTS):
        return Sentence("json-comment", "begins with a comment, which JSON does not have; remove it")
    if data.lstrip().startswith(b"{'"):
        return Sentence(
            "json-single-quotes", "is an object as Python prints it, in single quotes; write it with json.dumps"
        )
    if error.doc[: error.pos].rstrip().endswith(",") and error.doc[error.pos :].lstrip()[:1] in "]}":
        return Sentence("json-comma", "has a comma behind the last field, which JSON does not allow; remove it")
    return None


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            "",
            Sentence(
                "byte-no-utf8",
                "byte 0x%(byte)s at position %(position)s is not UTF-8 (perhaps Latin-1, Windows-1252 or GB "
                "18030); save the file as UTF-8",
                byte=f"{data[error.start]:02x}",
                position=error.start,
            ),
        ) from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(twice, Sentence("twice-in-object", "stands twice in one object; keep one"))
    return result


def _no_constant(name: str) -> NoReturn:
    raise Refused(
        "", Sentence("json-no-number", "is not JSON: %(name)s is no number; use a finite number or null", name=name)
    )


def check_storable(value: object) -> None:
    """Refuse what Postgres or UTF-8 cannot hold (NUL, lone surrogates) and nesting beyond MAX_DEPTH."""
    waiting: list[tuple[object, str, int]] = [(value, "", 0)]
    while waiting:
        item, field, depth = waiting.pop()
        if depth > limits.MAX_DEPTH:
            raise Refused(
                "", Sentence("row-nested", "is nested deeper than %(MAX_DEPTH)s levels", MAX_DEPTH=limits.MAX_DEPTH)
            )
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
        raise Refused(field, Sentence("row-nul", "holds a NUL character (U+0000); remove it"))
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise Refused(
            field,
            Sentence(
                "row-surrogate",
                "holds a lone surrogate (U+%(code)s) or a byte that is not UTF-8 at character %(start)s "
                "(perhaps Latin-1, Windows-1252 or GB 18030); save the file as UTF-8",
                code=f"{code:04X}",
                start=error.start,
            ),
        ) from None
