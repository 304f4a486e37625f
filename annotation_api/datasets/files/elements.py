"""Cuts JSON into its rows without parsing them, so that one bad row spoils only itself.

whole_values     objects one after another, over several lines each or several on one
array_elements   the elements of one array
wrapped_elements the elements of the arrays of one object: {"version": "1", "data": [{...}, {...}]}
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Unreadable

_OUTSIDE = re.compile(rb'["\[\]{},]')
_IN_STRING = re.compile(rb'["\\]')
_CHUNK = 2**16
_LONGEST_NAME = 100  # bytes of the name of an array that are looked at
WRAPPERS = frozenset({"data", "train", "test", "validation", "rows", "records", "items", "examples", "results"})


def whole_values(reader: io.BufferedReader[Any], most_bytes: int) -> Iterator[bytes | None]:
    """The bytes of each object; None stands for one longer than `most_bytes`. What lies between them comes as a row
    that does not parse. The others likewise.

    Raises Unreadable when the last one never closes.
    """
    yield from _cut(reader, _Cutter(most_bytes, level=0))


def array_elements(reader: io.BufferedReader[Any], most_bytes: int) -> Iterator[bytes | None]:
    """The bytes of each element. Raises Unreadable when the array never closes."""
    yield from _cut(reader, _Cutter(most_bytes, level=1))


def wrapped_elements(
    reader: io.BufferedReader[Any], most_bytes: int, arrays: list[str] | None = None
) -> Iterator[bytes | None]:
    """The bytes of each element of the arrays whose name is among WRAPPERS; `arrays` takes the names of those."""
    cutter = _Cutter(most_bytes, level=2)
    cutter.arrays = [] if arrays is None else arrays
    yield from _cut(reader, cutter)


def _cut(reader: io.BufferedReader[Any], cutter: _Cutter) -> Iterator[bytes | None]:
    while chunk := reader.read(_CHUNK):
        yield from cutter.feed(chunk)
    yield from cutter.rest()


class _Cutter:
    """Looks at brackets, commas and strings only. An element lies `level` brackets deep."""

    def __init__(self, most_bytes: int, level: int) -> None:
        self.most_bytes, self.level = most_bytes, level
        self.element = bytearray()
        self.too_long = False
        self.depth = 0
        self.in_string = False
        self.skip_next = False  # the character after a backslash
        self.name = bytearray()  # the last string one bracket deep: what an array there is called
        self.wanted = level < 2  # whether the array that is read holds rows
        self.found = 0
        self.arrays: list[str] = []  # the names of those that were read

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        at = 0
        while at < len(chunk):
            if self.skip_next:
                self._keep(chunk[at : at + 1])
                self.skip_next, at = False, at + 1
                continue
            hit = (_IN_STRING if self.in_string else _OUTSIDE).search(chunk, at)
            end = hit.start() if hit else len(chunk)
            self._keep(chunk[at:end])
            if hit:
                yield from self._mark(chunk[end : end + 1])
            at = end + 1

    def _mark(self, mark: bytes) -> Iterator[bytes | None]:
        """One structural character."""
        if mark == b"\\":
            self.skip_next = True
        elif mark == b'"':
            self._quote()
        elif mark in b"[{":
            if self._open(mark):
                return  # the bracket around the elements
        elif mark in b"]}":
            yield from self._close(mark)
            return
        elif self.depth == self.level > 0 and self.wanted:  # a comma between two elements
            yield self._take()
            return
        self._keep(mark)

    def _quote(self) -> None:
        self.in_string = not self.in_string
        if self.in_string and self.depth == 1:
            self.name.clear()

    def _open(self, mark: bytes) -> bool:
        """Go one deeper; whether this bracket is around the elements."""
        self.depth += 1
        if self.level == 2 and self.depth == 2:
            name = self.name.decode(errors="replace")
            self.wanted = mark == b"[" and name.lower() in WRAPPERS
            self.arrays += [name] * self.wanted
            self.element.clear()
            self.found = 0
        return self.depth <= self.level

    def _close(self, mark: bytes) -> Iterator[bytes | None]:
        self.depth = max(0, self.depth - 1)  # one too many spoils the row that it stands in, not the rest
        around = self.depth == self.level - 1
        if not around:
            self._keep(mark)
        if self.wanted and ((around and self._holds_more()) or self.depth == self.level == 0):
            yield self._take()
        if around and self.level == 2:
            self.wanted = False

    def _holds_more(self) -> bool:
        """The last element of an array, also behind a comma too many; an empty array has none."""
        return bool(self.found or self.element.strip()) or self.too_long

    def _keep(self, data: bytes) -> None:
        if self.in_string and self.depth == 1 and data != b'"' and len(self.name) < _LONGEST_NAME:
            self.name += data
        if not self.wanted or (self.level == 2 and self.depth < 2):
            return
        if len(self.element) + len(data) > self.most_bytes:
            self.too_long = True
        if not self.too_long:
            self.element += data

    def _take(self) -> bytes | None:
        # Between the elements of an array a comma is their mark; between objects it says nothing.
        taken = None if self.too_long else bytes(self.element).lstrip(b", \t\r\n" if self.level == 0 else b"")
        self.element.clear()
        self.too_long = False
        self.found += 1
        return taken

    def rest(self) -> Iterator[bytes | None]:
        if self.depth > 0:
            what = "object" if self.level != 1 else "array"
            raise Unreadable(
                0,
                Sentence(
                    "json-never-closed",
                    "the JSON %(what)s is never closed: the file is cut short or a quote is missing",
                    what=what,
                ),
            )
        if self.too_long or self.element.strip(b", \t\r\n" if self.level == 0 else None):
            yield self._take()
