"""Cuts a JSON array into its elements without parsing them, so that one bad element spoils only itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from annotation_api.datasets.formats.values import Unreadable

_OUTSIDE = re.compile(rb'["\[\]{},]')
_IN_STRING = re.compile(rb'["\\]')
_CHUNK = 2**16


def array_elements(reader: io.BufferedReader[Any], most_bytes: int) -> Iterator[bytes | None]:
    """The bytes of each element; None stands for one longer than `most_bytes`.

    Only brackets, commas and strings are looked at. Text after the array comes as an element that
    does not parse. Raises Unreadable when the array never closes.
    """
    cutter = _Cutter(most_bytes)
    while chunk := reader.read(_CHUNK):
        yield from cutter.feed(chunk)
    yield from cutter.rest()


class _Cutter:
    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.element = bytearray()
        self.too_long = False
        self.depth = 0
        self.in_string = False
        self.skip_next = False  # the character after a backslash
        self.found = 0

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
            self.in_string = not self.in_string
        elif mark in b"[{":
            self.depth += 1
            if self.depth == 1:
                return  # the array's own bracket
        elif mark in b"]}":
            self.depth -= 1
            if self.depth == 0:
                if self.found or self.too_long or self.element.strip():
                    yield self._take()
                return
        elif self.depth == 1:  # a comma between two elements
            yield self._take()
            return
        self._keep(mark)

    def _keep(self, data: bytes) -> None:
        if len(self.element) + len(data) > self.most_bytes:
            self.too_long = True
        if not self.too_long:
            self.element += data

    def _take(self) -> bytes | None:
        taken = None if self.too_long else bytes(self.element)
        self.element.clear()
        self.too_long = False
        self.found += 1
        return taken

    def rest(self) -> Iterator[bytes | None]:
        if self.depth > 0:
            raise Unreadable(0, "the JSON array is never closed: the file is cut short or a quote is missing")
        if self.too_long or self.element.strip():
            yield self._take()
