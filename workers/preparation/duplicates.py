"""Records that say the same, or nearly: exact after a normalisation, near by MinHash over runs of characters.

Runs of characters serve Chinese and English alike. Rankings of the same responses by several people are votes
and stay; only the very same judgement again is a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from rensa import RMinHash, RMinHashLSH

from alignment.shared.records import Ranking
from workers.preparation.texts import Prepared, normalised, prompt_of, prompt_texts, responses_of

HASHES = 128  # of a text, or a few less
MISSED = 1e-4  # at most, of the pairs that are just alike enough
RUN = 5  # characters
SEED = 42


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def said(record: Prepared) -> str:
    """The texts as one, in which the order of responses says nothing."""
    turns = [normalised(text) for text in prompt_texts(prompt_of(record))]
    return "\n".join([*turns, *sorted(normalised(text) for text in responses_of(record))])


def asked(record: Prepared) -> str:
    return "\n".join(normalised(turn.content) for turn in prompt_of(record).messages if turn.role == "user")


def runs(text: str) -> list[str]:
    return [text[i : i + RUN] for i in range(max(1, len(text) - RUN + 1))]


def missed(threshold: float, rows: int) -> float:
    """The share of pairs of likeness `threshold` that agree in no band of `rows` hashes."""
    return float((1 - threshold**rows) ** (HASHES // rows))


def rows_of_band(threshold: float) -> int:
    """As many hashes as keep `missed` in bounds: each more makes fewer texts that only share words be compared."""
    return max(rows for rows in range(1, HASHES // 2) if missed(threshold, rows) <= MISSED)


class Near:
    """Texts by their likeness."""

    def __init__(self, threshold: float) -> None:
        rows = rows_of_band(threshold)
        bands = HASHES // rows
        self._threshold, self._permutations = threshold, rows * bands
        self._index = RMinHashLSH(threshold=threshold, num_perm=self._permutations, num_bands=bands)
        self._hashes: list[RMinHash] = []

    def find(self, text: str) -> tuple[int | None, RMinHash]:
        """The number of a kept text that is like this one, and the text's hash for `keep`."""
        made = RMinHash(num_perm=self._permutations, seed=SEED)
        made.update(runs(text))
        like = (key for key in self._index.query(made) if made.jaccard(self._hashes[key]) >= self._threshold)
        return next(like, None), made

    def keep(self, made: RMinHash) -> None:
        self._index.insert(len(self._hashes), made)
        self._hashes.append(made)


class SeenBefore:
    """What came before: `seen` says whether a record says the same, or nearly the same, as a kept one."""

    def __init__(self, threshold: float | None) -> None:
        """Without a threshold only what is the same counts."""
        self._exact: set[bytes] = set()
        self._judged: set[bytes] = set()
        self._near = Near(threshold) if threshold is not None else None

    def seen(self, record: Prepared) -> str | None:
        """Why it is a duplicate; None: it is new, and is known from now on."""
        text = said(record)
        key = _digest(text)
        judgement = _judgement(record, key)
        if key in self._exact:
            if not isinstance(record, Ranking) or judgement in self._judged:
                return "says the same as an earlier record"
            self._judged.add(judgement)
            return None
        if self._near is not None:
            found, made = self._near.find(text)
            if found is not None:
                return "says nearly the same as an earlier record"
            self._near.keep(made)
        self._exact.add(key)
        self._judged.add(judgement)
        return None


def _judgement(record: Prepared, key: bytes) -> bytes:
    """Who ranked these texts, and how."""
    if not isinstance(record, Ranking):
        return key
    order = [sorted(normalised(record.responses[i]) for i in group) for group in record.groups]
    return _digest(f"{key.hex()} {record.annotator!r} {order!r} {record.criterion}")


class Others:
    """The texts of another data set, or of evaluation prompts, that records must not repeat."""

    def __init__(self, texts: Iterable[str], threshold: float | None) -> None:
        self._exact: set[bytes] = set()
        self._near = Near(threshold) if threshold is not None else None
        for text in texts:
            self._exact.add(_digest(text))
            if self._near is not None:
                self._near.keep(self._near.find(text)[1])

    def hold(self, text: str) -> bool:
        return _digest(text) in self._exact or (self._near is not None and self._near.find(text)[0] is not None)
