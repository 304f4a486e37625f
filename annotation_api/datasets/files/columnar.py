"""Rows of a Parquet or Arrow file, by pyarrow, a few at a time."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import limits
from annotation_api.datasets.files.beginnings import ARROW_MAGIC, PARQUET_MAGIC
from annotation_api.datasets.files.containers import seekable
from annotation_api.datasets.files.json_rows import check_storable
from annotation_api.datasets.values import Refused, Unreadable

BATCH = 256  # rows in memory at a time
NOT_A_NUMBER = Sentence("note-numbers-are-none-nan", "numbers that are none (NaN, infinity) were read as missing")
NO_JSON: dict[type, str] = {bytes: "bytes", bytearray: "bytes"}


def columnar_rows(
    reader: io.BufferedReader[Any], notes: Counter[str]
) -> Iterator[tuple[int, dict[str, Any] | Refused]]:
    """Rows from 1. Raises Unreadable when the file is damaged or would unpack beyond the limit."""
    import pyarrow as pa  # slow to import, and few imports need it

    start = reader.peek(8)
    file = seekable(reader)
    try:
        number = 0
        for batch in _batches(file, start):
            _check_names(batch.schema.names)
            batch.validate(full=True)  # or a damaged offset would read beyond the memory
            for row in _rows_of(batch, notes):
                number += 1
                yield number, _plain(row, notes)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Unreadable(
            0, Sentence("file-damaged", "the file is damaged or cut short (%(reason)s); copy it again", reason=reason)
        ) from error


def _batches(file: IO[bytes], start: bytes) -> Iterable[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if start.startswith(PARQUET_MAGIC):
        table = pq.ParquetFile(file)
        groups = (table.metadata.row_group(i) for i in range(table.metadata.num_row_groups))
        _check_size(max((group.total_byte_size for group in groups), default=0))
        yield from table.iter_batches(batch_size=BATCH)
    elif start.startswith(ARROW_MAGIC):
        opened = pa.ipc.open_file(file)
        yield from _cut(opened.get_batch(i) for i in range(opened.num_record_batches))
    else:
        while _is_more(file):  # shards of one table, one after another
            yield from _cut(pa.ipc.open_stream(file))


def _rows_of(batch: Any, notes: Counter[str]) -> list[dict[str, Any]]:
    """The rows; a date or a time that Python cannot hold is read as missing, and noted with its column."""
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        cells = {name: _cells(name, batch.column(i), notes) for i, name in enumerate(batch.schema.names)}
        return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _cells(name: str, column: Any, notes: Counter[str]) -> list[Any]:
    found: list[Any] = []
    for cell in column:
        try:
            found.append(cell.as_py())
        except (ValueError, OverflowError):
            english = "dates, times or durations in %(name)s that cannot be held here were read as missing"
            notes[Sentence("note-times-not-held", english, name=name)] += 1
            found.append(None)
    return found


def _check_names(names: list[str]) -> None:
    """A name that stands twice would hide all columns but the last."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Unreadable(
            0,
            Sentence(
                "column-twice",
                "the file names a column twice: %(twice)s; keep one",
                twice=", ".join(twice[:6]),
            ),
        )


def _is_more(file: IO[bytes]) -> bool:
    at = file.tell()
    found = bool(file.read(1))
    file.seek(at)
    return found


def _cut(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches of at most BATCH rows: a batch of a file can be the whole file."""
    for batch in batches:
        batch.validate(full=True)  # before its size is asked for, and before it is cut
        _check_size(batch.nbytes)
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)


def _check_size(size: int) -> None:
    if size > limits.MAX_UNPACKED_BYTES:
        most = f"{limits.MAX_UNPACKED_BYTES // 2**30} GiB"
        raise Unreadable(
            0, Sentence("part-too-large", "a part of the file unpacks to more than %(most)s; split it", most=most)
        )


def _plain(row: dict[str, Any], notes: Counter[str]) -> dict[str, Any] | Refused:
    """The row as JSON would hold it."""
    try:
        plain = {name: _value(value, name, notes) for name, value in row.items()}
        check_storable(plain)
        return plain
    except Refused as refused:
        refused.source = repr(row).encode()
        return refused


def _value(value: Any, field: str, notes: Counter[str]) -> Any:
    if isinstance(value, dict):
        return {name: _value(inner, f"{field}.{name}", notes) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_value(inner, f"{field}[{i}]", notes) for i, inner in enumerate(value)]
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        notes[NOT_A_NUMBER] += 1
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise Refused(
        field,
        Sentence(
            "holds-no-json",
            "holds %(value)s; text, numbers, lists are read: leave the column out, or save it as text",
            value=NO_JSON.get(type(value), type(value).__name__),
        ),
    )
