"""Reads a file of rankings, demonstrations or prompts into records, and counts what it met.

    reading = Reading(stream, "preferences")
    for item in reading:  # Accepted records in the order of the file
        store(item.row, item.part, item.record)
    reading.refusals, reading.duplicates, reading.notes

A row is taken whole or refused whole. Nothing is dropped in silence: every row ends as accepted
records, as duplicates of earlier records, or as a refusal that names field and reason.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from alignment.problems import Problem, explain
from alignment.records import Record
from annotation_api.datasets.formats.containers import Readable
from annotation_api.datasets.formats.json_rows import Numbered
from annotation_api.datasets.formats.source import Source
from annotation_api.datasets.formats.table import KINDS, Format, layout_of, reader
from annotation_api.datasets.formats.values import Note, Refused, Unreadable

MAX_REFUSALS = 50_000  # a file with more is not what it was taken for
MAX_RECORDS = 2_000_000  # bounds the memory for finding duplicates to about 200 MB
MAX_WORDS = 600  # characters of a refusal: names of fields in a row can be as long as the row
LOOK_AHEAD = 100  # rows that `auto` may look at to find the layout


@dataclass(frozen=True)
class Accepted:
    row: int  # from 1
    part: int  # from 0: a tree or a row with three votes gives several records
    record: Record
    hash: str
    size: int  # characters of its canonical line


@dataclass(frozen=True)
class Refusal:
    row: int
    field: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Reading:
    """One pass over one file. Iterate once; the counters are right when the iteration has ended.

    Raises nothing on bad input: a file that cannot be read on ends with a refusal at that row and
    `broken` set, which means that its valid rows must not be used either.
    """

    def __init__(self, stream: Readable, kind: str, format: str = Format.AUTO) -> None:
        self.kind, self.format = kind, Format(format)
        self.accepted = self.duplicates = 0
        self.refusals: list[Refusal] = []
        self.broken = False
        self._notes: Counter[str] = Counter()
        self._seen: set[bytes] = set()
        self._source = Source(stream, as_csv=self.format is Format.CSV)
        self._rows = iter(self._source)

    @property
    def notes(self) -> list[str]:
        return [f"{text}: {count}" for text, count in sorted((self._notes + self._source.notes).items())]

    def __iter__(self) -> Iterator[Accepted]:
        try:
            yield from self._read()
        except Unreadable as error:
            self._refuse(error.row, error)
            self.broken = True

    def _read(self) -> Iterator[Accepted]:
        count = 0
        for number, value in self._with_layout():
            count += 1
            try:
                if isinstance(value, Refused):
                    raise value
                records = self._records(value)
            except Refused as refused:
                self._refuse(number, refused)
                continue
            yield from self._new(number, records)
        if not count:
            raise Unreadable(0, f"the file holds no row; {self.kind} need at least one")

    def _with_layout(self) -> Iterator[Numbered]:
        """All rows, once the first that speaks for a layout has settled it."""
        if self.format not in (Format.AUTO, Format.CSV):
            yield from self._rows
            return
        head = list(itertools.islice(self._rows, LOOK_AHEAD))
        layouts = (layout_of(value) for _, value in head if not isinstance(value, Refused))
        found = next((layout for layout in layouts if layout), None)
        if found:
            self.format = found
        elif any(not isinstance(value, Refused) for _, value in head):
            raise Unreadable(head[0][0], _unknown(head))
        yield from head
        if not found and len(head) == LOOK_AHEAD:
            raise Unreadable(head[-1][0], f"none of the first {LOOK_AHEAD} rows is a JSON object or CSV record")
        yield from self._rows

    def _records(self, row: dict[str, Any]) -> list[Record]:
        """The records of one row; its notes are kept only when the whole row is good."""
        try:
            made = list(reader(self.format, self.kind)(row))
        except ValidationError as error:
            raise _refused(explain(error, KINDS[self.kind])) from None
        self._notes.update(item.text for item in made if isinstance(item, Note))
        return [item for item in made if isinstance(item, Record)]

    def _new(self, number: int, records: list[Record]) -> Iterator[Accepted]:
        for part, record in enumerate(records):
            line = record.canonical()
            digest = hashlib.sha256(line.encode())
            if digest.digest()[:16] in self._seen:
                self.duplicates += 1
                continue
            if len(self._seen) >= MAX_RECORDS:
                raise Unreadable(number, f"the file holds more than {MAX_RECORDS:,} records; split it")
            self._seen.add(digest.digest()[:16])
            self.accepted += 1
            yield Accepted(number, part, record, digest.hexdigest(), len(line))

    def _refuse(self, number: int, error: Refused | Unreadable) -> None:
        field = error.field if isinstance(error, Refused) else ""
        self.refusals.append(Refusal(number, _clip(field), _clip(error.message)))
        if len(self.refusals) == MAX_REFUSALS:
            raise Unreadable(
                number, f"{MAX_REFUSALS:,} rows are refused, so reading stopped; check --format and --as for this file"
            )


def _clip(text: str) -> str:
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}…"


def _refused(problems: list[Problem]) -> Refused:
    """The first problem by its field, the others behind it."""
    fields = [problem.pointer.strip("/").replace("/", ".") for problem in problems]
    texts = [_sentence(problem) for problem in problems]
    more = [f"; {field}: {text}" for field, text in zip(fields[1:4], texts[1:4], strict=True)]
    return Refused(fields[0], texts[0] + "".join(more))


def _sentence(problem: Problem) -> str:
    message = problem.message.removeprefix("Value error, ")
    return f"{message} (it is {problem.value})" if problem.value else message


def _unknown(head: list[Numbered]) -> str:
    first = next(value for _, value in head if isinstance(value, dict))
    return (
        f"no known layout has the fields {', '.join(list(first)[:12]) or '(none)'}; name the layout with --format "
        f"({', '.join(f.value for f in Format if f not in (Format.AUTO, Format.CSV))})"
    )
