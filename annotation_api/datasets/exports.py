"""A snapshot as a file: our own records, or their columns, as JSON lines, Parquet or CSV.

`datasets` takes the types of JSON lines from the first 10 MB, where a rare field may be absent: a large
snapshot in full goes to it as `records-parquet`, whose columns are typed.

The bytes follow from the snapshot and the format alone. Pieces are of about PIECE bytes, so that a
server hands them on in few steps, and no more than one group of rows is in memory at a time.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from alignment.shared.records import Record, canonical_json
from alignment.shared.turns.tools import holds_tools
from annotation_api.datasets.columns import FLAT, FULL, Columns, flat, full, with_tools
from annotation_api.datasets.export_formats import ExportFormat as ExportFormat
from annotation_api.db.snapshots.frozen_rows import HOLDS
from annotation_api.db.tables import DatasetKind
from annotation_api.disarmed import disarm

PIECE = 2**18  # bytes handed to the server at once
GROUP = 2**21  # characters of a row group of Parquet, as JSON
MEDIA_TYPES = {
    ExportFormat.TRL: "application/x-ndjson",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.RECORDS_PARQUET: "application/vnd.apache.parquet",
    ExportFormat.CSV: "text/csv; charset=utf-8",
}
SUFFIXES = {
    ExportFormat.TRL: "trl.jsonl",
    ExportFormat.JSONL: "jsonl",
    ExportFormat.PARQUET: "parquet",
    ExportFormat.RECORDS_PARQUET: "records.parquet",
    ExportFormat.CSV: "csv",
}


def export(lines: Iterable[str], kind: str, format: ExportFormat, *, tools: bool = False) -> Iterator[bytes]:
    """The bytes of the file, in pieces; `lines` are the canonical records of a snapshot of `kind`.

    `tools`: some of them hold tools (`holds_tools`); a table then has columns for them.
    """
    held = HOLDS[DatasetKind(kind)]
    if format is ExportFormat.JSONL:
        return _gathered(f"{line}\n" for line in lines)
    records = map(held.from_line, _fitting(lines, tools or format is ExportFormat.TRL))
    if format is ExportFormat.TRL:
        return _gathered(f"{canonical_json(row)}\n" for row in _rows(records, flat))
    whole = format is ExportFormat.RECORDS_PARQUET
    columns: Mapping[str, str] = FULL[held] if whole else FLAT[held]
    columns = with_tools(columns, whole=whole) if tools else columns
    rows = _rows(records, full if whole else flat)
    return _gathered(_csv(rows, list(columns))) if format is ExportFormat.CSV else _parquet(rows, columns)


def _rows(records: Iterable[Record], columns: Any) -> Iterator[Columns]:
    return itertools.chain.from_iterable(columns(record) for record in records)


def _fitting(lines: Iterable[str], tools: bool) -> Iterator[str]:
    """The lines, none of which holds tools that its table has no column for."""
    for line in lines:
        assert tools or not holds_tools(line), "the table has no column for tools"
        yield line


def _gathered(texts: Iterable[str], enough: int = PIECE) -> Iterator[bytes]:
    """UTF-8 in pieces of whole texts, each `enough` characters or one text more."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= enough:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting).encode()


# ---------------------------------------------------------------- CSV


def _csv(rows: Iterable[Columns], names: list[str]) -> Iterator[str]:
    """RFC 4180: a header, CRLF, quotes where they are needed and doubled inside."""
    line = csv.writer(_Echo(), lineterminator="\r\n").writerow  # returns what the file's `write` returned
    yield str(line(names))
    for row in rows:
        yield str(line([cell(row.get(name)) for name in names]))


class _Echo:
    """A file whose `write` hands back what it was given."""

    def write(self, text: str) -> str:
        return text


def cell(value: object) -> str:
    """A cell that no spreadsheet runs: text that could start a formula gets an apostrophe before it.

    One message is its text, several are JSON; so are lists. null is an empty cell.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, list):
        text = _readable(value)
    else:
        return "" if value is None else canonical_json(value)
    return disarm(text)


def _readable(value: list[Any]) -> str:
    one = value[0] if len(value) == 1 else None
    text = one.get("content") if isinstance(one, dict) and one.keys() == {"role", "content"} else None
    # A text like a list stays a message: it would come back as a list.
    return canonical_json(value) if not isinstance(text, str) or text.lstrip().startswith("[") else text


# ---------------------------------------------------------------- Parquet


class _Sink(io.RawIOBase):
    """Where the writer writes; `take` hands out what has come and forgets it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _parquet(rows: Iterable[Columns], columns: Mapping[str, str]) -> Iterator[bytes]:
    """Row groups as they fill; the footer last.

    pyarrow is loaded only here, and its JSON reader makes the columns: making them from Python lists
    would load pandas, some 50 MB for good.
    """
    import pyarrow
    from pyarrow import json, parquet

    schema, sink = _schema(columns, pyarrow), _Sink()
    parse = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    with parquet.ParquetWriter(sink, schema) as writer:
        for group in _gathered((f"{canonical_json(row)}\n" for row in rows), GROUP):
            whole = json.ReadOptions(use_threads=False, block_size=len(group) + 1)
            table = json.read_json(io.BytesIO(group), read_options=whole, parse_options=parse)
            writer.write_table(table.select(schema.names))
            yield sink.take()
    yield sink.take()


def _schema(columns: Mapping[str, str], pyarrow: Any) -> Any:
    text, whole = pyarrow.string(), pyarrow.int32()
    said = [("role", text), ("content", text)]
    call = [("id", text), ("type", text), ("function", pyarrow.struct([("name", text), ("arguments", text)]))]
    calls = pyarrow.list_(pyarrow.struct(call))
    of_tools = [("tool_calls", calls), ("tool_call_id", text), ("name", text)]
    answer = [("question", text), ("text", text), ("value", text), ("criterion", text)]
    types = {
        "text": text,
        "texts": pyarrow.list_(text),
        "lists": pyarrow.list_(pyarrow.list_(text)),
        "whole": whole,
        "wholes": pyarrow.list_(whole),
        "groups": pyarrow.list_(pyarrow.list_(whole)),
        "number": pyarrow.float64(),
        "flag": pyarrow.bool_(),
        "messages": pyarrow.list_(pyarrow.struct(said)),
        "turns": pyarrow.list_(pyarrow.struct([*said, *of_tools])),
        "calls": calls,
        "answers": pyarrow.list_(pyarrow.struct(answer)),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
