"""A snapshot as a file: our records, TRL's columns as JSON lines, or the same columns as Parquet.

TRL's columns hold messages as lists of role and content. A ranking gives one row for each pair of
a better and a worse response. `weight` is the ranking's weight over its number of pairs, so that a
ranking counts once however many responses it has; `margin` follows Llama 2 (Touvron et al. 2023,
table 27, small margins) and is 0 where no strength was asked.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from alignment.config import RewardConfig
from alignment.records import Demonstration, Prompt, Ranking, Record, canonical_json, split_of
from annotation_api.datasets.formats.table import KINDS

MARGINS = {4: 1.0, 3: 2 / 3, 2: 1 / 3, 1: 0.0}
HELDOUT_FRACTION = RewardConfig().heldout_fraction
ROW_GROUP = 1000

Columns = dict[str, Any]


class ExportFormat(StrEnum):
    TRL = "trl"
    JSONL = "jsonl"
    PARQUET = "parquet"


MEDIA_TYPES = {
    ExportFormat.TRL: "application/x-ndjson",
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
}
SUFFIXES = {ExportFormat.TRL: "trl.jsonl", ExportFormat.JSONL: "jsonl", ExportFormat.PARQUET: "parquet"}


def export(lines: Iterable[str], kind: str, format: ExportFormat) -> Iterator[bytes]:
    """The bytes of the file, in pieces; `lines` are the canonical records of a snapshot of `kind`."""
    if format is ExportFormat.JSONL:
        return (f"{line}\n".encode() for line in lines)
    rows = itertools.chain.from_iterable(columns(KINDS[kind].from_line(line)) for line in lines)
    if format is ExportFormat.TRL:
        return (f"{canonical_json(row)}\n".encode() for row in rows)
    return _parquet(rows, KINDS[kind])


def columns(record: Record) -> Iterator[Columns]:
    """The rows in TRL's columns that one record gives; a ranking without a preference gives none."""
    if isinstance(record, Ranking):
        yield from _pairs(record)
    elif isinstance(record, Demonstration):
        yield {
            "prompt": _messages(record.prompt),
            "completion": _answer(record.response),
            **_origin(record.prompt, record.lineage),
        }
    elif isinstance(record, Prompt):
        yield {"prompt": _messages(record), **_origin(record, {})}


def _pairs(ranking: Ranking) -> Iterator[Columns]:
    pairs = ranking.pairs()
    for better, worse in pairs:
        yield {
            "prompt": _messages(ranking.prompt),
            "chosen": _answer(ranking.responses[better]),
            "rejected": _answer(ranking.responses[worse]),
            "margin": MARGINS[ranking.strength] if ranking.strength else 0.0,
            "weight": ranking.weight / len(pairs),
            **_origin(ranking.prompt, ranking.lineage),
        }


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in prompt.messages]


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _origin(prompt: Prompt, lineage: dict[str, str]) -> Columns:
    return {"split": split_of(prompt, HELDOUT_FRACTION), "lineage": json.dumps(lineage, sort_keys=True)}


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


def _parquet(rows: Iterator[Columns], kind: type[Record]) -> Iterator[bytes]:
    """Row groups as they fill; the footer last. pyarrow is loaded only here."""
    import pyarrow
    from pyarrow import parquet

    schema, sink = _schema(kind, pyarrow), _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        while group := list(itertools.islice(rows, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            yield sink.take()
    yield sink.take()


def _schema(kind: type[Record], pyarrow: Any) -> Any:
    text = pyarrow.string()
    messages = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
    middle: dict[type[Record], list[tuple[str, Any]]] = {
        Ranking: [("chosen", messages), ("rejected", messages), ("margin", pyarrow.float64())],
        Demonstration: [("completion", messages)],
        Prompt: [],
    }
    weight = [("weight", pyarrow.float64())] if kind is Ranking else []
    fields = [("prompt", messages), *middle[kind], *weight, ("split", text), ("lineage", text)]
    return pyarrow.schema(fields)
