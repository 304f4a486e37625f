"""From bytes to numbered rows: wrappings, limits, and what a bad file says."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard

from annotation_api.datasets.files import limits
from annotation_api.datasets.files.source import Source
from annotation_api.datasets.formats import reading as reading_module
from annotation_api.datasets.formats.reading import Reading
from annotation_api.datasets.values import Refused, Unreadable

ROWS = [{"instruction": f"Frage {i} 问？", "input": "", "output": f"Antwort {i}"} for i in range(1, 4)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"
CSV = "instruction,input,output\n" + "".join(f'"Frage {i} 问？",,Antwort {i}\n' for i in range(1, 4))


def read(data: bytes, kind: str = "demonstrations", format: str = "auto") -> Reading:
    reading = Reading(io.BytesIO(data), kind, format)
    reading.found = list(reading)  # type: ignore[attr-defined]
    return reading


def zipped(*members: tuple[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return file.getvalue()


def table(write: Callable[[pyarrow.Table, io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(pyarrow.Table.from_pylist(ROWS), file)
    return file.getvalue()


def responses(reading: Any) -> list[tuple[int, str]]:
    return [(item.row, item.record.response) for item in reading.found]


@pytest.mark.parametrize(
    "data",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        LINES.replace("\n", "\r\n").encode(),
        LINES.rstrip("\n").encode(),
        gzip.compress(LINES.encode()),
        gzip.compress(LINES.encode("utf-8-sig")),
        gzip.compress(LINES[:40].encode()) + gzip.compress(LINES[40:].encode()),
        json.dumps(ROWS).encode(),
        json.dumps(ROWS, indent=2, ensure_ascii=False).encode("utf-8-sig"),
        gzip.compress(json.dumps(ROWS, indent=1).encode()),
        CSV.encode(),
        CSV.encode("utf-8-sig"),
        CSV.replace("\n", "\r\n").encode(),
        gzip.compress(CSV.encode()),
        CSV.replace(",", ";").encode(),
        CSV.replace(",", "\t").encode(),
        LINES.encode("utf-16"),
        LINES.encode("utf-16-le"),
        LINES.encode("utf-32"),
        CSV.encode("utf-16"),
        CSV.replace("\n", "\r").encode(),
        b"sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n").encode(),
        zstandard.compress(LINES.encode()),
        zipped(("rows.jsonl", LINES), ("__MACOSX/._rows.jsonl", "x")),
        json.dumps({"version": "1", "meta": {"a": [1]}, "data": ROWS, "test": []}).encode(),
        json.dumps({"version": 1, "train": ROWS}, indent=2).encode(),
        "".join(json.dumps(row, indent=2) for row in ROWS).encode(),
        "".join(json.dumps(row) for row in ROWS).encode(),
        json.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]}).encode(),
        json.dumps(
            {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
        ).encode(),
        table(pyarrow.parquet.write_table),
        table(lambda rows, file: pyarrow.ipc.new_stream(file, rows.schema).write_table(rows)),
        table(lambda rows, file: pyarrow.feather.write_feather(rows, file)),
    ],
)
def test_the_same_rows_in_every_wrapping(data: bytes) -> None:
    reading = read(data)
    assert reading.refusals == []
    assert responses(reading) == [(1, "Antwort 1"), (2, "Antwort 2"), (3, "Antwort 3")]


def test_rows_are_counted_by_physical_line() -> None:
    data = LINES.replace("\n", "\n\n").encode() + b"{broken\n"
    reading = read(data)
    assert [row for row, _ in responses(reading)] == [1, 3, 5]
    assert [refusal.row for refusal in reading.refusals] == [7]


def test_array_elements_and_csv_records_are_counted_likewise() -> None:
    array = f"[{json.dumps(ROWS[0])},\n\n {{bad}}, 5, {json.dumps(ROWS[1])}]".encode()
    reading = read(array)
    assert [row for row, _ in responses(reading)] == [1, 4]
    assert [refusal.row for refusal in reading.refusals] == [2, 3]
    table = b'instruction,output\n"two\nlines",a\nonly one cell\nq,b\n'
    reading = read(table)
    assert responses(reading) == [(1, "a"), (3, "b")]
    assert [refusal.row for refusal in reading.refusals] == [2]


def test_a_string_may_hold_brackets_quotes_and_commas() -> None:
    row = {"instruction": 'say "]},{[" \\', "output": '\\"'}
    assert read(json.dumps([row, row | {"output": "b"}]).encode()).accepted == 2


def test_an_array_is_cut_right_at_every_buffer_border(monkeypatch: pytest.MonkeyPatch) -> None:
    from annotation_api.datasets.files import elements

    data = json.dumps([{"instruction": 'a\\"]', "output": f"{i}\\"} for i in range(20)]).encode()
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(elements, "_CHUNK", size)
        assert read(data).accepted == 20


# ---------------------------------------------------------------- bad rows

GOOD = json.dumps(ROWS[0]).encode()


@pytest.mark.parametrize(
    ("line", "field", "why"),
    [
        (b'{"instruction": "a", "output": }', "", "not JSON"),
        (b'{"instruction": "a"', "", "not JSON"),
        (b"[1, 2]", "", "must be an object"),
        (b'"text"', "", "must be an object"),
        (b"null", "", "must be an object"),
        (b'{"instruction": "a\xff", "output": "b"}', "", "0xff"),
        (b'{"instruction": "a", "output": "b\\u0000c"}', "output", "NUL"),
        (b'{"instruction": "a\\ud800", "output": "b"}', "instruction", "surrogate"),
        (b'{"instruction": "a", "output": "b", "\\ud800": 1}', "", "surrogate"),
        (b'{"instruction": "a", "output": NaN}', "", "NaN"),
        (b'{"instruction": "a", "output": "b", "output": "c"}', "output", "twice"),
        (b'{"instruction": "a", "output": "b", "n": ' + b"9" * 5000 + b"}", "", "more than 4300 digits"),
        (b'{"instruction": "a", "output": "b", "n": ' + b"[" * 300 + b"]" * 300 + b"}", "", "nested"),
        (b'{"instruction": "a", "output": "b", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "nested"),
        (b'{"instruction": "a"}', "output", "missing"),
        (b'{"instruction": 5, "output": "b"}', "instruction", "must be text, it is a number (5)"),
        (b'{"instruction": "a", "output": "  "}', "output", "empty"),
    ],
)
def test_a_bad_row_names_field_and_reason_and_spoils_no_other(line: bytes, field: str, why: str) -> None:
    reading = read(GOOD + b"\n" + line + b"\n" + json.dumps(ROWS[1]).encode())
    assert [row for row, _ in responses(reading)] == [1, 3]
    (refusal,) = reading.refusals
    assert (refusal.row, refusal.field) == (2, field)
    assert why in refusal.message
    assert not reading.broken


def test_a_row_that_is_too_long_is_refused_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1000)
    long = json.dumps({"instruction": "x" * 200_000, "output": "y"})
    for data in (f"{long}\n{json.dumps(ROWS[0])}\n", f"[{long}, {json.dumps(ROWS[0])}]"):
        reading = read(data.encode())
        assert responses(reading) == [(2, "Antwort 1")]
        assert "longer than" in reading.refusals[0].message


def test_a_duplicate_is_counted_not_stored() -> None:
    reading = read((json.dumps(ROWS[0]) + "\n" + json.dumps({**ROWS[0], "category": "again"}) + "\n").encode())
    assert (reading.accepted, reading.duplicates, reading.refusals) == (1, 1, [])


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no row"),
        (b"\n \n", "no row"),
        (b"[]", "no row"),
        (gzip.compress(b""), "no row"),
        (gzip.compress(LINES.encode())[:-9], "damaged or cut short"),
        (b"\x1f\x8b\x08garbage", "damaged or cut short"),
        (json.dumps(ROWS).encode()[:-1], "never closed"),
        (json.dumps(ROWS).encode()[:-9], "never closed"),
        (b'{"text": "a document"}\n', "no known layout"),
        (b'{"text": "a document"}\n', "demonstrations need prompt and response: say which column holds each"),
        (b'{"text": "a document"}\n', 'map ({"prompt": "COLUMN", "response": "COLUMN"}) or by --map prompt=COLUMN on'),
        (b"instruction,output,output\na,b,c\n", "twice"),
    ],
)
def test_a_bad_file_is_broken_with_one_sentence(data: bytes, why: str) -> None:
    reading = read(data)
    assert reading.broken
    assert why in reading.refusals[-1].message


def test_a_gzip_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 2**20)
    reading = read(gzip.compress(b"\n" * 2**24))
    assert reading.broken
    assert "larger than" in reading.refusals[-1].message


def test_a_text_is_refused_by_row_and_given_up_soon() -> None:
    reading = read(b"Some text.\n" * 1000)
    assert reading.broken
    assert len(reading.refusals) == reading_module.LOOK_AHEAD + 1
    assert reading.refusals[0].row == 1


def test_too_many_refusals_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MAX_REFUSALS", 3)
    reading = read(GOOD + b"\n" + b'{"instruction": "a"}\n' * 10)
    assert reading.broken
    assert "check the layout" in reading.refusals[-1].message


def test_memory_stays_small_whatever_the_size_of_the_file() -> None:
    import tracemalloc

    class Endless(io.RawIOBase):
        """200 MB of one row, over and over."""

        def __init__(self) -> None:
            self.left = 200 * 2**20
            self.line = json.dumps({"instruction": "x" * 10_000, "output": "y"}).encode() + b"\n"

        def read(self, size: int = -1) -> bytes:
            data = (self.line * (1 + size // len(self.line))) if self.left > 0 else b""
            self.left -= len(data)
            return data[: len(data) // len(self.line) * len(self.line)][:size]

    tracemalloc.start()
    for _ in Source(Endless()):  # type: ignore[arg-type]
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_unreadable_and_refused_say_where() -> None:
    assert str(Unreadable(3, "it stops")) == "row 3: it stops"
    assert str(Refused("a.b", "is wrong")) == "a.b: is wrong"
