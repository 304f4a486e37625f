"""Files as people really save them: odd quotes and blanks, encodings without a mark, and what is no data at all."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from annotation_api.datasets.formats.reading import Reading

ROWS = [{"prompt": f"Name tree {i}, please.", "chosen": "Oak, or elm.", "rejected": "Sand."} for i in range(3)]
CHINESE = [
    {"prompt": f"请说出第{i}棵树的名字，并说明原因。", "chosen": "橡树，很高大。", "rejected": "沙子。"}
    for i in range(4)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def table(rows: list[dict[str, str]], gap: str = ",") -> str:
    return "\n".join([gap.join(rows[0]), *(gap.join(f'"{cell}"' for cell in row.values()) for row in rows)]) + "\n"


def read(data: bytes) -> tuple[Reading, list[dict[str, str]]]:
    reading = Reading(io.BytesIO(data), "preferences")
    records: list[Any] = [item.record for item in reading]
    pairs = [(item.prompt.text, *item.responses) for item in records]
    return reading, [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in pairs]


RIGHT: dict[str, tuple[bytes, list[dict[str, str]]]] = {
    "blanks after commas": (table(ROWS, ", ").encode(), ROWS),
    "blanks after commas, below the header": (table(ROWS, ", ").replace(", ", ",", 2).encode(), ROWS),
    "blanks after commas, quotes around the names": (
        table(ROWS, ", ").replace("prompt, chosen, rejected", '"prompt", "chosen", "rejected"').encode(),
        ROWS,
    ),
    "blanks without quotes": (b"prompt, chosen, rejected\nQ, Oak, Sand\n", [
        {"prompt": "Q", "chosen": "Oak", "rejected": "Sand"}]),
    "a quote after a blank inside of a text": (b'prompt,chosen,rejected\nQ,"he said, ""yes""",B\n', [
        {"prompt": "Q", "chosen": 'he said, "yes"', "rejected": "B"}]),
    "a text that begins with a blank": (b'prompt,chosen,rejected\nQ," ""yes""",B\n', [
        {"prompt": "Q", "chosen": ' "yes"', "rejected": "B"}]),
    "files joined, with their headers": ((table(ROWS) + "\ufeff" + table(ROWS[:1])).encode("utf-8-sig"), ROWS),
    "UTF-16 of Chinese without a mark": (table(CHINESE).encode("utf-16-le"), CHINESE),
    "UTF-16 of Chinese, the other end first": (table(CHINESE).encode("utf-16-be"), CHINESE),
    "UTF-32 without a mark": (table(CHINESE).encode("utf-32-le"), CHINESE),
    "a mark on every line": (b"".join(b"\xef\xbb\xbf" + line.encode() + b"\n" for line in LINES.splitlines()), ROWS),
    "RFC 7464": (b"".join(b"\x1e" + line.encode() + b"\n" for line in LINES.splitlines()), ROWS),
    "two marks": (b"\xef\xbb\xbf" + table(ROWS).encode("utf-8-sig"), ROWS),
    "a blank without width": (("\u200b" + table(ROWS)).encode(), ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_read_right(name: str) -> None:
    data, rows = RIGHT[name]
    reading, found = read(data)
    assert reading.refusals == []
    assert found == rows


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


NAMED: dict[str, tuple[bytes, str]] = {
    **{f"pickle {i}": (pickle.dumps(ROWS, i), "a Python pickle") for i in range(6)},
    "zip of a workbook": (zipped(**{"a.xlsx": zipped(**{"[Content_Types].xml": b"", "xl/a.xml": b""})}), "Excel"),
    "Numbers": (zipped(**{"Index/Document.iwa": b"", "preview.jpg": b""}), "an Apple document"),
    "PyTorch": (zipped(**{"a/data.pkl": b"", "a/version": b""}), "a file of PyTorch"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(200), "an HDF5 file"),
    "RDS": (gzip.compress(b"X\n\x00\x00\x00\x03" + bytes(100)), "an R object"),
    "RTF": (b"{\\rtf1\\ansi prompt}", "a text document"),
    "YAML": (b"- prompt: Name a tree.\n  chosen: Oak.\n", "YAML"),
    "YAML, an object": (b"prompt: Name a tree.\nchosen: Oak.\n", "YAML"),
    "TOML": (b'[[rows]]\nprompt = "Q"\n', "TOML"),
    "JavaScript": (b"const data = " + json.dumps(ROWS).encode() + b";\n", "a program that holds data"),
    "Python": (b"data = [\n  {'prompt': 'Q'},\n]\n", "a program that holds data"),
    "SQL": (b"-- a dump\nCREATE TABLE t (a int);\n", "in SQL"),
    "a fence": (b"```json\n" + json.dumps(ROWS).encode() + b"\n```\n", "in a fence"),
    "HTML": (b"<table><tr><td>prompt</td></tr></table>", "HTML"),
    "a comment above a table": (b"# made today\nprompt,chosen,rejected\nQ,A,B\n", "a comment or a heading"),
    "comments in JSON": (b"// by hand\n" + LINES.encode(), "begins with a comment"),
    "single quotes": (b"{'prompt': 'Q', 'chosen': 'A'}\n", "as Python prints it"),
    "a comma too many": (b'[{"prompt": "Q", "chosen": "A", "rejected": "B",}]', "a comma behind the last"),
    "single quotes in CSV": (b"prompt,chosen,rejected\n'Q.','Oak.','Sand.'\n", "in single quotes"),
    "quotes that are not doubled": (b'prompt,chosen,rejected\n"Say \\"hi\\" now","Oak","Sand"\n', "not doubled"),
}


@pytest.mark.parametrize("name", NAMED)
def test_refused_by_name(name: str) -> None:
    data, why = NAMED[name]
    reading, _ = read(data)
    assert why in reading.refusals[0].message


def test_an_error_of_a_spreadsheet_is_noted() -> None:
    reading, _ = read(b"prompt,chosen,rejected\nQ,#NAME?,B\n")
    assert any("#NAME?" in note for note in reading.notes)


def test_several_arrays_of_one_file_are_named() -> None:
    reading, found = read(json.dumps({"train": ROWS, "test": [ROWS[0], ROWS[1] | {"prompt": "New?"}]}).encode())
    assert len(found) == 4
    assert "the arrays train, test of the file were read one after another: 1" in reading.notes


def arrow(column: pa.Array) -> bytes:
    rows = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]}).append_column("made", column)
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, rows.schema) as writer:
        writer.write(rows)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 10**8, 3], pa.int32()).cast(pa.date32()),
        pa.array([1, 2**62, 3], pa.duration("s")),
        pa.array([1, 2, 3], pa.timestamp("us", tz="Mars/Base")),
    ],
)
def test_a_date_that_nobody_can_hold_is_missing_and_noted(column: pa.Array) -> None:
    reading, found = read(arrow(column))
    assert found == ROWS
    assert any("made that cannot be held" in note for note in reading.notes)


def test_dates_are_read_as_text() -> None:
    assert read(arrow(pa.array([date(2026, 1, 2)] * 3)))[0].unused == {"made": 3}
