"""A file of each kind of bad input: taken or refused by a stated limit, in one sentence, in bounded memory.

`pytest -s` prints what the importer says to each.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import resource
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard

from annotation_api.datasets.files import limits
from annotation_api.datasets.formats.reading import Reading

ROW = {"instruction": "Wie spät ist es?", "output": "Acht Uhr"}
LINE = json.dumps(ROW, ensure_ascii=False)
TABLE = 'instruction,output\n"Wie spät ist es?",Acht Uhr\n'
PEAK = 64 * 2**20  # bytes that reading any of these files may need: a row of 8 MiB, a few times over


def zipped(*names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, "<xml/>" if name.endswith("xml") else LINE)
    return archive.getvalue()


def with_output(text: str) -> bytes:
    """A good row and, in the second line, one with this JSON text as its output."""
    return f'{LINE}\n{{"instruction": "a", "output": {text}}}\n'.encode()


def damaged_arrow() -> bytes:
    """A table whose second text begins beyond the texts: reading it unchecked can end the process."""
    file = io.BytesIO()
    table = pyarrow.table({"instruction": ["aa", "bb"], "output": ["cc", "dd"]})
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue().replace(b"\0\0\0\0\2\0\0\0\4\0\0\0", b"\0\0\0\0\2\0\0\x70\4\0\0\0")


# what it is: the bytes, records taken, words of the (last) refusal
FILES: dict[str, tuple[bytes, int, str]] = {
    "UTF-8 with a mark": (LINE.encode("utf-8-sig"), 1, ""),
    "CRLF": (f"{LINE}\r\n".encode(), 1, ""),
    "gzip in two members": (gzip.compress(LINE.encode()[:9]) + gzip.compress(LINE.encode()[9:]), 1, ""),
    "CSV with a mark and CRLF": (TABLE.replace("\n", "\r\n").encode("utf-8-sig"), 1, ""),
    "UTF-16": (LINE.encode("utf-16"), 1, ""),
    "UTF-16, big end first": (b"\xfe\xff" + LINE.encode("utf-16-be"), 1, ""),
    "UTF-16 without a mark": (LINE.encode("utf-16-le"), 1, ""),
    "UTF-16 cut short": (LINE.encode("utf-16")[:-1], 0, "the file begins as UTF-16 but is not"),
    "a program": (Path(sys.executable).read_bytes()[:3000], 0, "the file is no text file"),
    "a module of WebAssembly": (b"\0asm\1\0\0\0" + bytes(range(40)) * 9, 0, "the file is no text file"),
    "sound": (b"RIFF$\xa0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + b"\xfe\xff\1\0" * 400, 0, "the file is no text file"),
    "zeros": (bytes(3000), 0, "the file is no text file"),
    "a photograph": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)), 0, "the file is a picture; import text"),
    "UTF-32": (LINE.encode("utf-32"), 1, ""),
    "Latin-1": (LINE.encode("latin-1"), 0, "(perhaps Latin-1, Windows-1252 or GB 18030); save the file as UTF-8"),
    "Latin-1 CSV": (TABLE.encode("latin-1"), 0, "a byte that is not UTF-8"),
    "GB 18030": (json.dumps({"instruction": "问", "output": "答"}, ensure_ascii=False).encode("gb18030"), 0,
                 "is not UTF-8"),
    "zip": (zipped("data.jsonl"), 1, ""),
    "zip of a Mac": (zipped("data.jsonl", "__MACOSX/._data.jsonl", "folder/.DS_Store"), 1, ""),
    "zip of two": (zipped("a.jsonl", "b.jsonl"), 0, "holds 2 files (a.jsonl, b.jsonl); import them one by one"),
    "zip of a workbook in a folder": (zipped("_rels/.rels"), 0, "an Excel workbook"),
    "zip cut short": (zipped("data.jsonl")[:-30], 0, "is damaged or cut short"),
    "zip by an unknown method": (zipped("data.jsonl").replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0c\0"), 0, "is damaged"),
    "a header with a line end in it": (b"sep=;\n\xb9a\r;b\nc;d\n", 0, "the CSV header cannot be read"),
    "Arrow with an offset beyond its end": (damaged_arrow(), 0, "is damaged or cut short"),
    "zstd": (zstandard.compress(LINE.encode()), 1, ""),
    "zstd in two frames": (zstandard.compress(LINE.encode()[:9]) + zstandard.compress(LINE.encode()[9:]), 1, ""),
    "zstd cut short": (zstandard.compress(LINE.encode() * 99)[:-9], 0, "cut short"),
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), 0, "an Excel workbook (xlsx); save the sheet as CSV"),
    "Parquet": (b"PAR1\x15\x04\x15\x10PAR1", 0, "the file is damaged or cut short"),
    "xz": (lzma.compress(LINE.encode()), 0, "packed with xz; unpack it, or pack it with gzip"),
    "gzip in gzip": (gzip.compress(gzip.compress(LINE.encode())), 0, "the file is packed twice; unpack it once"),
    "gzip cut short": (gzip.compress(LINE.encode() * 99)[:-20], 0, "the file is damaged or cut short"),
    "empty": (b"", 0, "the file holds no row"),
    "prose": (b"Shall I compare thee to a summer's day?\n", 0, "is not JSON"),
    "HTML": (b"<!doctype html>\n<table></table>\n", 0, "a page of HTML"),
    "a document a row": (b'{"text": "no layout has this"}\n', 0, "no known layout has the fields text"),
    "array cut short": (f"[{LINE}, {LINE[:-3]}".encode(), 0, "the JSON array is never closed"),
    "NUL": (with_output('"a\\u0000b"'), 1, "holds a NUL character (U+0000); remove it"),
    "raw NUL": (with_output('"a\x00b"'), 1, "is not JSON: Invalid control character"),
    "lone surrogate": (with_output('"\\ud83d"'), 1, "holds a lone surrogate (U+D83D)"),
    "NaN": (with_output("NaN"), 1, "NaN is no number"),
    "a number of 5,000 digits": (with_output("9" * 5000), 1, "holds a whole number of more than"),
    "a key twice": (with_output('"x", "output": "y"'), 1, "stands twice in one object; keep one"),
    "300 levels": (with_output("[" * 300 + "]" * 300), 1, "is nested deeper than 200 levels"),
    "1,000,000 levels": (with_output("[" * 10**6 + "]" * 10**6), 1, "is nested deeper than 200 levels"),
    "a response of 1 MB": (with_output(json.dumps("好" * 350_000)), 2, ""),
    "a row of 9 MB": (with_output(json.dumps("x" * 9_000_000)), 1, "the row is longer than 8 MiB"),
    "a line without an end": (b'{"instruction": "' + b"x" * 20_000_000, 0, "the row is longer than 8 MiB"),
    "CSV with an open quote": (b'instruction,output\n"a' + (b"\n" + b"b" * 999) * 12_000, 0, "a quote may be missing"),
    "CSV with a name twice": (b"output,output\na,b\n", 0, "the CSV header names a column twice"),
    "CSV with a cell too many": (b"instruction,output\na,b\na,b,c\n", 1, "has 3 cells where the header has 2"),
    "a field name of 1 MB": (json.dumps({"x" * 10**6: 1}).encode(), 0, "no known layout has the fields xxx"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_the_importer_says(name: str) -> None:
    data, taken, why = FILES[name]
    tracemalloc.start()
    reading = Reading(io.BytesIO(data), "demonstrations")
    found = list(reading)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    last = reading.refusals[-1] if reading.refusals else None
    said = f"row {last.row} {last.field}: {last.message}" if last else f"{len(found)} records"
    print(f"{name:28} {said[:150]}")
    assert len(found) == taken
    assert (why in last.message and len(last.message) < 1000) if last else why == ""
    assert peak < PEAK


class Bomb:
    """A gzip file that unpacks to one text over and over, `megabytes` long, made as it is read."""

    def __init__(self, text: bytes, megabytes: int) -> None:
        self.pieces = self._pieces(text * (2**20 // len(text)), megabytes)
        self.rest = b""

    def _pieces(self, block: bytes, count: int) -> Iterator[bytes]:
        import zlib

        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        for _ in range(count):
            yield packer.compress(block)
        yield packer.flush()

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size and (piece := next(self.pieces, None)) is not None:
            self.rest += piece
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b" ", "the unpacked file is larger than"),  # one line without an end
        (b"\n", "the file holds more than 20,000 rows; split it"),
        (f"{LINE}\n".encode(), "the file holds more than 20,000 rows; split it"),  # duplicates of a good row
        (f"{LINE}\n{{}}\n".encode(), "5,000 rows are refused, so reading stopped"),
        (b"[{", "reading took longer than 1 seconds; split the file"),  # brackets cost the most
    ],
)
def test_a_gzip_that_unpacks_without_end_is_given_up(text: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are lowered so that each is met in a moment; what is measured is that memory does not grow."""
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 24 * 2**20)
    monkeypatch.setattr(limits, "MAX_ROWS", 20_000)
    monkeypatch.setattr(limits, "MAX_SECONDS", 1 if text == b"[{" else 60)
    monkeypatch.setattr("annotation_api.datasets.formats.reading.MAX_REFUSALS", 5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading: Any = Reading(Bomb(text, 200), "demonstrations")
    for _ in reading:
        pass
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    said = [refusal.message for refusal in reading.refusals]
    print(f"{text[:20]!r:28} {said[-1][:120]}")
    assert reading.broken
    assert any(why in message for message in said)
    assert growth < 64  # MB


def test_100_000_tiny_rows_are_read_in_small_memory() -> None:
    data = "".join(f'{{"prompt":"{n}","completion":"a"}}\n' for n in range(100_000)).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading = Reading(io.BytesIO(data), "demonstrations")
    count = sum(1 for _ in reading)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (count, reading.refusals) == (100_000, [])
    assert growth < 48  # MB, most of it the hashes that find duplicates
