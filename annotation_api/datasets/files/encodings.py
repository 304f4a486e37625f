"""Text that is not UTF-8: told by its mark or, where the bytes leave no doubt, by what they spell.

GB 18030 and Windows-1252 give a text to almost any bytes, so they are taken only where the text that comes out
is plainly one: GB 18030 where most of it is among the common Chinese characters, Windows-1252 where its
neighbours read the same.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

from charset_normalizer import from_bytes

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Unreadable

MARKS = {  # the longer first
    codecs.BOM_UTF32_LE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF32_BE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF16_LE: ("UTF-16", "utf-16"),
    codecs.BOM_UTF16_BE: ("UTF-16", "utf-16"),
}
ENOUGH = 8  # characters beyond ASCII from which a language can be told
UNSEEN = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")  # signs of control that no text is made of
MOST_UNSEEN = 0.05  # share of them in a text
_EASTERN = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef\u2010-\u2027\u3040-\u30ff\uac00-\ud7af]")
_WORD = re.compile(r"[^\W\d_]+")
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


def is_binary(start: bytes) -> bool:
    """Whether no text begins like this: it holds zeros, and is neither UTF-16 nor UTF-8, or mostly of unseen signs."""
    if 0 not in start or told_by(start) is not None:
        return False
    unseen = sum(byte in UNSEEN for byte in start)
    return not is_utf8(start) or unseen > len(start) * MOST_UNSEEN


def _without_mark(start: bytes) -> Encoding | None:
    """UTF-16 of mainly Latin text shows by a zero in every second byte; a program has many more."""
    sample = start[:512]
    if (wide := _with_four_bytes(sample)) is not None:
        return wide
    for codec, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if len(zeros) > 2 and zeros.count(0) > len(zeros) / 2:
            text = sample[: len(sample) // 2 * 2].decode(codec, "replace")
            return Encoding("UTF-16 without a mark", codec) if not any(ord(sign) in UNSEEN for sign in text) else None
    return _of_the_east(start)


def _with_four_bytes(sample: bytes) -> Encoding | None:
    """UTF-32: hardly any bytes but a text's are one sign in each four."""
    for codec in ("utf-32-le", "utf-32-be"):
        with contextlib.suppress(UnicodeDecodeError):
            text = sample[: len(sample) // 4 * 4].decode(codec)
            if len(text) >= ENOUGH and not any(ord(sign) in UNSEEN for sign in text):
                return Encoding("UTF-32 without a mark", codec)
    return None


def _of_the_east(start: bytes) -> Encoding | None:
    """UTF-16 of a text that is mainly Chinese, Japanese or Korean: its zeros are few,
    those of the signs that part its cells and lines.

    No other encoding of these has zeros, and none gives a text of their common signs when it is read as UTF-16.
    """
    if 0 not in start:
        return None
    for codec in ("utf-16-le", "utf-16-be"):
        with contextlib.suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(codec)().decode(start)
            usual = sum(sign.isascii() or bool(_EASTERN.match(sign)) for sign in text)
            eastern = sum(bool(_EASTERN.match(sign)) for sign in text)
            if eastern >= ENOUGH and usual > 0.98 * len(text) and not any(ord(sign) in UNSEEN for sign in text):
                return Encoding("UTF-16 without a mark", codec)
    return None


def _guess(start: bytes) -> Encoding | None:
    beyond = sum(byte > 127 for byte in start)
    if beyond < 2 * ENOUGH:
        return None
    best = from_bytes(start, cp_isolation=["gb18030", "cp1252", "big5", "shift_jis", "euc_kr", "cp1251"]).best()
    if best is not None and best.encoding == "gb18030" and best.chaos <= SURE:
        return Encoding("GB 18030", "gb18030")
    return Encoding("Windows-1252", "cp1252") if _is_western(start) else None


def _is_western(start: bytes) -> bool:
    """Whether each byte beyond ASCII is the same sign in the Windows encodings of west, middle Europe and Turkey, the
    letters among them stand in Latin words, and there are few of them: then there is no doubt what they are."""
    try:
        text, *others = (start.decode(codec) for codec in ("cp1252", "cp1250", "cp1254"))
    except UnicodeDecodeError:
        return False
    beyond = [i for i, sign in enumerate(text) if not sign.isascii()]
    same = all(text[i] == other[i] for other in others for i in beyond)
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    latin = sum(any(letter.isascii() for letter in word) for word in words)
    return same and bool(words) and len(beyond) < len(text) / 5 and latin > 0.9 * len(words)


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
                raise Unreadable(
                    0,
                    Sentence(
                        "begins-as",
                        "the file begins as %(name)s but is not: %(error)s",
                        name=self._name,
                        error=error.reason,
                    ),
                ) from error
            if not data:
                break
        size = min(len(self._left), len(buffer))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
