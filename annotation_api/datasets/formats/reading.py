"""Reads a file of rankings, demonstrations or prompts into records, and counts what it met.

    reading = Reading(stream, "preferences")
    for item in reading:  # Accepted records in the order of the file
        store(item.row, item.part, item.record)
    reading.refusals, reading.duplicates, reading.notes

A row is taken whole or refused whole. Nothing is dropped in silence: every row ends as accepted
records, as duplicates of earlier records, as a refusal that names field and reason, or in a note
that counts what was left out; `unused` counts the fields that were not read.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from alignment.shared.records import Candidates, Prompt, Ranking, Record
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem, explain
from annotation_api.datasets.files.containers import Readable
from annotation_api.datasets.files.json_rows import Numbered
from annotation_api.datasets.files.source import Source, all_but_the_last
from annotation_api.datasets.formats.checks import notes_on
from annotation_api.datasets.formats.mapping import NEEDED, Mapping, mapped
from annotation_api.datasets.formats.mapping import layout as mapping_to
from annotation_api.datasets.formats.rows import batches, exchanges, rated, states
from annotation_api.datasets.formats.rows.plain import folded, looked_at, unwrapped
from annotation_api.datasets.formats.rows.trees import trees
from annotation_api.datasets.formats.shapes import pairs
from annotation_api.datasets.formats.shapes.chats import only_asks
from annotation_api.datasets.formats.signs import spoken_for
from annotation_api.datasets.formats.table import KINDS, Format, reader
from annotation_api.datasets.formats.votes import Judgements
from annotation_api.datasets.formats.watched import WatchedRow, count, meant
from annotation_api.datasets.values import Note, Refused, Unreadable

MAX_REFUSALS = 50_000  # a file with more is not what it was taken for
MAX_RECORDS = 2_000_000  # bounds the memory for finding duplicates to about 200 MB
MAX_WORDS = 600  # characters of a refusal: names of fields in a row can be as long as the row
MAX_COLUMNS = 200  # names that are told of a file
FOLDED = Sentence("note-rows-whose-columns-were", "rows whose columns were read by their names in lower case")
OWN = (Format.JSONL, Format.RECORDS)  # our own records come back as they were
LOOK_AHEAD = 100  # rows that `auto` may look at to find the layout


@dataclass(frozen=True)
class Accepted:
    row: int  # from 1
    part: int  # from 0: a tree or a row with three votes gives several records
    record: Record
    hash: str
    line: str  # the record's canonical one


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

    def __init__(
        self,
        stream: Readable,
        kind: str,
        format: str = Format.AUTO,
        mapping: Mapping | None = None,
        *,
        beginning: bool = False,
    ) -> None:
        """`mapping` says which columns hold what, in place of a layout; `beginning`: the file was cut somewhere."""
        self.kind, self.format, self.mapping = kind, Format(format), mapping
        self.columns: list[str] = []  # of the first row
        self.accepted = self.duplicates = 0
        self.refusals: list[Refusal] = []
        self.broken = False
        self.unknown = False  # no layout has these fields: somebody must say which holds what
        self._folds = False  # whether the names of columns are read in lower case
        self._notes: Counter[str] = Counter()
        self._unused: Counter[str] = Counter()
        self._judgements = Judgements()
        self._source = Source(stream, as_csv=self.format is Format.CSV)
        self._rows = trees(all_but_the_last(self._source) if beginning else iter(self._source))
        if KINDS[kind] in (Ranking, Candidates) and self.format in (Format.AUTO, Format.CSV) and not mapping:
            self._rows = rated.rankings(self._rows)
        if mapping:
            self.format = mapping_to(mapping)

    @property
    def notes(self) -> list[str]:
        counts = sorted((self._notes + self._source.notes).items())
        return [Sentence("note-and-count", "%(text)s: %(count)s", text=text, count=count) for text, count in counts]

    @property
    def unused(self) -> dict[str, int]:
        """Fields that were not read, with the number of rows that hold something there; the most frequent first."""
        return dict(self._unused.most_common())

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
            self._see_columns(value)
            try:
                if isinstance(value, Refused):
                    raise value
                records = self._records(value)
            except Refused as refused:
                self._refuse(number, refused)
                continue
            yield from self._new(number, records)
        if not count:
            raise Unreadable(
                0, Sentence("file-no-row", "the file holds no row; %(kind)s need at least one", kind=self.kind)
            )

    def _with_layout(self) -> Iterator[Numbered]:
        """All rows, once the first that speaks for a layout has settled it."""
        if self.format not in (Format.AUTO, Format.CSV):
            yield from self._rows
            return
        head = list(itertools.islice(self._rows, LOOK_AHEAD))
        for _, value in head:
            self._see_columns(value)
        rows = [looked_at(value) for _, value in head if not isinstance(value, Refused)]
        found = spoken_for(rows)
        if found is None:
            self._folds, found = True, spoken_for([folded(row) for row in rows])
        if found and not self._lacks(found, rows):
            self.format = found
        elif any(not isinstance(value, Refused) for _, value in head):
            self.unknown = True
            raise Unreadable(head[0][0], _unknown(head, self.kind))
        yield from head
        if not found and len(head) == LOOK_AHEAD:
            raise Unreadable(
                head[-1][0],
                Sentence(
                    "no-row-readable",
                    "none of the first %(look_ahead)s rows is a JSON object or CSV record",
                    look_ahead=LOOK_AHEAD,
                ),
            )
        yield from self._rows

    def _lacks(self, found: Format, rows: list[dict[str, Any]]) -> bool:
        """Whether all that is known is a prompt where answers are wanted, or two answers to nothing: somebody must say
        which column holds the rest."""
        known = rows if not self._folds else [folded(row) for row in rows]
        if found is Format.TRL:
            return all(map(pairs.asks_nothing, known))
        return found is Format.ALPACA and KINDS[self.kind] is not Prompt and all(map(only_asks, known))

    def _see_columns(self, value: dict[str, Any] | Refused) -> None:
        if not self.columns and isinstance(value, dict):
            self.columns = [_clip(name) for name in itertools.islice(value, MAX_COLUMNS)]

    def _records(self, row: dict[str, Any]) -> list[Record]:
        """The records of one row; its notes are kept only when the whole row is good."""
        if batches.is_rejected(row) and batches.is_batch(row) and not self.mapping:
            self._notes[batches.REJECTED.text] += 1
            return []
        row = row if self.mapping else unwrapped(row)
        if self._folds:
            row = folded(row)
            self._notes[FOLDED] += 1
        row = exchanges.parted(row)
        if exchanges.is_in_turn(row) and not self.mapping:
            self._notes[exchanges.IN_TURN] += 1
            row = exchanges.in_turn(row)
        if self.format not in OWN and (why := states.taken_back(row)):
            self._notes[why.text] += 1
            return []
        watched = WatchedRow(row)
        try:
            made = list(reader(self.format, self.kind)(self._mapped(watched)))
        except ValidationError as error:
            raise _refused(explain(error, KINDS[self.kind])) from None
        records = [item for item in made if isinstance(item, Record)]
        notes = [item for item in made if isinstance(item, Note)]
        watched.read |= states.looked_at(row)
        unread = watched.unread() if records else []  # a row that was left out is in the notes
        notes += [note for name in unread for note in meant(name, row.get(name))]
        if self.format not in OWN:
            notes += [note for record in records for note in notes_on(record)]
        self._notes.update(note.text for note in notes)
        count(self._unused, unread)
        return self._judgements.of(records, row, self._notes)

    def _mapped(self, row: WatchedRow) -> dict[str, Any]:
        return mapped(self.mapping, row) if self.mapping else row

    def _new(self, number: int, records: list[Record]) -> Iterator[Accepted]:
        for part, record in enumerate(records):
            line = record.canonical()
            if self._judgements.is_known(line):
                self.duplicates += 1
                continue
            if self._judgements.count >= MAX_RECORDS:
                raise Unreadable(
                    number,
                    Sentence(
                        "too-many-records",
                        "the file holds more than %(max_records)s records; split it",
                        max_records=f"{MAX_RECORDS:,}",
                    ),
                )
            digest = self._judgements.keep(line)
            self.accepted += 1
            yield Accepted(number, part, record, digest, line)

    def _refuse(self, number: int, error: Refused | Unreadable) -> None:
        field = error.field if isinstance(error, Refused) else ""
        self.refusals.append(Refusal(number, _clip(field), _clip(error.message)))
        if len(self.refusals) == MAX_REFUSALS:
            raise Unreadable(
                number,
                Sentence(
                    "too-many-refused",
                    "%(max_refusals)s rows are refused, so reading stopped; check the layout and the kind of this file",
                    max_refusals=f"{MAX_REFUSALS:,}",
                ),
            )


def _clip(text: str) -> str:
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}…"


def _refused(problems: list[Problem]) -> Refused:
    """The first problem by its field, the others behind it."""
    fields = [problem.pointer.strip("/").replace("/", ".") for problem in problems]
    texts = [_sentence(problem) for problem in problems]
    found = texts[0]
    for field, text in zip(fields[1:4], texts[1:4], strict=True):
        found = Sentence("and-field", "%(first)s; %(field)s: %(text)s", first=found, field=field, text=text)
    return Refused(fields[0], found)


def _sentence(problem: Problem) -> str:
    said = problem.message
    if problem.value == "" or (isinstance(said, Sentence) and said.code == "input-missing"):
        return said
    return Sentence("it-is", "%(what)s (it is %(value)s)", what=said, value=problem.written)


def _unknown(head: list[Numbered], kind: str) -> str:
    """The cause, as far as the first row shows it, and what has to be named."""
    first = next(value for _, value in head if isinstance(value, dict))
    needed = NEEDED[kind]
    return Sentence(
        "no-known-layout",
        "no known layout has the fields %(fields)s; %(kind)s need %(needed)s: say which column holds each, by the "
        "form's field map (%(map)s) or by --map %(first)s=COLUMN on the command line",
        fields=", ".join(list(first)[:12]) or "(none)",
        kind=kind,
        needed=" and ".join(needed),
        map=json.dumps(dict.fromkeys(needed, "COLUMN")),
        first=needed[0],
    )
