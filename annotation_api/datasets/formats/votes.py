"""Which judgements were met before: the same row again is a duplicate, another row is another vote.

Several people can judge one pair alike. Where a file names them, their records differ. Where it does not, rows
that differ in any field (an id, a time) are taken for judgements of their own, and each gets a name of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from alignment.shared.records import Ranking, Record
from alignment.shared.sentence import Sentence

ANOTHER_VOTE = Sentence(
    "note-same-judgement-another-row", "the same judgement in another row was taken as another vote"
)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Judgements:
    """Hashes of the records and, for rankings without an annotator, of the rows that they came from."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._rows: set[bytes] = set()
        self._votes: Counter[bytes] = Counter()

    @property
    def count(self) -> int:
        return len(self._known)

    def is_known(self, line: str) -> bool:
        return _digest(line)[:16] in self._known

    def keep(self, line: str) -> str:
        digest = _digest(line)
        self._known.add(digest[:16])
        return digest.hex()

    def of(self, records: list[Record], row: dict[str, object], notes: Counter[str]) -> list[Record]:
        """The records; a ranking of a new row that equals an earlier one says that it is another vote."""
        if not any(isinstance(record, Ranking) and record.annotator is None for record in records):
            return records
        key = _digest(json.dumps(row, sort_keys=True))[:16]
        if key in self._rows:
            return records
        self._rows.add(key)
        return [self._vote(record, notes) for record in records]

    def _vote(self, record: Record, notes: Counter[str]) -> Record:
        if not isinstance(record, Ranking) or record.annotator is not None:
            return record
        key = _digest(record.canonical())[:16]
        if key not in self._known:
            return record
        self._votes[key] += 1
        notes[ANOTHER_VOTE] += 1
        return record.model_copy(update={"annotator": f"vote {self._votes[key] + 1}"})
