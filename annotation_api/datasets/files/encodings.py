"""Text that is not UTF-8: told by its mark or, where the bytes leave no doubt, by what they spell.

GB 18030 and Windows-1252 give a text to almost any bytes, so they are taken only where the text that comes out
is plainly one: GB 18030 where most of it is among the common Chinese characters, Windows-1252 never by guess.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from typing import Any

from charset_normalizer import from_bytes

from annotation_api.datasets.values import Unreadable

MARKS = {  # the longer first
    codecs.BOM_UTF32_LE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF32_BE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF16_LE: ("UTF-16", "utf-16"),
    codecs.BOM_UTF16_BE: ("UTF-16", "utf-16"),
}
ENOUGH = 8  # characters beyond ASCII from which a language can be told
SURE = 0.0  # share of unlikely characters (charset-normalizer's chaos) above which nothing is guessed


@dataclass(frozen=True)
class Encoding:
    name: str
    codec: str


def told_by(start: bytes) -> Encoding | None:
    """The encoding of a file that begins like this; None for UTF-8 and where nothing is sure."""
    for mark, (name, codec) in MARKS.items():
        if start.startswith(mark):
            return Encoding(name, codec)
    if (even := _without_mark(start)) is not None:
        return even
    return None if is_utf8(start) else _guess(start)


def is_utf8(start: bytes) -> bool:
    """Whether the bytes are UTF-8 as far as they go; a character may be cut off at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _without_mark(start: bytes) -> Encoding | None:
    """UTF-16 of mainly Latin text shows by a zero in every second byte."""
    sample = start[:512]
    for codec, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if len(zeros) > 2 and zeros.count(0) > len(zeros) / 2:
            return Encoding("UTF-16 without a mark", codec)
    return None


def _guess(start: bytes) -> Encoding | None:
    beyond = sum(byte > 127 for byte in start)
    if beyond < 2 * ENOUGH:
        return None
    best = from_bytes(start, cp_isolation=["gb18030", "cp1252", "big5", "shift_jis", "euc_kr", "cp1251"]).best()
    if best is None or best.encoding != "gb18030" or best.chaos > SURE:
        return None
    return Encoding("GB 18030", "gb18030")


class Transcoded(io.RawIOBase):
    """The bytes of another encoding as UTF-8."""

    def __init__(self, source: io.BufferedReader[Any], encoding: Encoding) -> None:
        self._source, self._name = source, encoding.name
        self._decode = codecs.getincrementaldecoder(encoding.codec)().decode
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._source.read(len(buffer))
            try:
                self._left = self._decode(data, final=not data).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise Unreadable(0, f"the file begins as {self._name} but is not: {error.reason}") from error
            if not data:
                break
        size = min(len(self._left), len(buffer))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
