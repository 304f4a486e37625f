"""What a file is packed in: gzip, zstd, or a zip with one data file; text that is not UTF-8.

Out come the plain bytes as UTF-8, past a byte order mark. What was done on the way stands in `notes`.
"""

from __future__ import annotations

import codecs
import gzip
import io
import shutil
import struct
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Protocol

import zstandard

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import encodings, limits
from annotation_api.datasets.files.beginnings import (
    GZIP_MAGIC,
    ZIP_MAGIC,
    ZSTD_MAGIC,
    is_workbook,
    other_archive,
    other_kind,
)
from annotation_api.datasets.files.folders import shards
from annotation_api.datasets.values import Unreadable

UTF8_BOM = codecs.BOM_UTF8
ZSTD_WINDOW = 2**27  # bytes that unpacking may look back: what `zstd --long` needs
ZSTD_PIECE = 512  # packed bytes at a time: a block of 4 bytes can unpack to 128 KiB
# What a data file in a zip is called; a README or a licence beside it does not count.
DATA = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather"})
SPOOLED = 2**23  # bytes of a stream without `seek` that are kept in memory before a file is made


class Readable(Protocol):
    """All that is asked of a file."""

    def read(self, size: int, /) -> bytes: ...


class _Counted(io.RawIOBase):
    """Passes bytes on and stops at MAX_UNPACKED_BYTES, or when the thread computed for MAX_SECONDS."""

    def __init__(self, source: Readable) -> None:
        self._source, self._read, self._started = source, 0, time.thread_time()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._read += len(data)
        if self._read > limits.MAX_UNPACKED_BYTES:
            raise Unreadable(
                0,
                Sentence(
                    "unpacked-too-large",
                    "the unpacked file is larger than %(MAX_UNPACKED_BYTES)s GiB; split it",
                    MAX_UNPACKED_BYTES=limits.MAX_UNPACKED_BYTES // 2**30,
                ),
            )
        if time.thread_time() - self._started > limits.MAX_SECONDS:
            raise Unreadable(
                0,
                Sentence(
                    "reading-too-long",
                    "reading took longer than %(MAX_SECONDS)s seconds; split the file",
                    MAX_SECONDS=limits.MAX_SECONDS,
                ),
            )
        buffer[: len(data)] = data
        return len(data)


def buffered(source: Readable) -> io.BufferedReader[Any]:
    """Any object with `read` as a stream that can be peeked at and is counted."""
    return io.BufferedReader(_Counted(source), limits.CHUNK)


def unpacked(stream: Readable, notes: Counter[str]) -> io.BufferedReader[Any]:
    """What is inside: one packing is taken off. Raises Unreadable for a kind of file that is not read here."""
    head = io.BufferedReader(_Counted(stream), limits.CHUNK)
    start = head.peek(limits.CHUNK)
    if start.startswith(GZIP_MAGIC):
        return _inside(buffered(gzip.GzipFile(fileobj=head)))
    if start.startswith(ZSTD_MAGIC):
        return _inside(buffered(io.BufferedReader(_Zstd(head), limits.CHUNK)))
    if start.startswith(ZIP_MAGIC) and not is_workbook(start):
        return _inside(buffered(_unzipped(head, notes)))
    return head


class _Zstd(io.RawIOBase):
    """Frames one after another. The library's own reader takes the end of the file for the end of a frame."""

    def __init__(self, source: io.BufferedReader[Any]) -> None:
        self._source, self._left = source, b""
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and (data := self._source.read(ZSTD_PIECE)):
            self._left = b"".join(self._unpack(data))
        if not self._left and self._frame is not None:
            raise EOFError(Sentence("zstd-ends", "it ends inside a zstd frame"))
        size = min(len(self._left), len(buffer))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._frame = self._frame or self._unpacker.decompressobj()
            yield self._frame.decompress(data)
            data = self._frame.unused_data
            if self._frame.eof:
                self._frame = None


def _inside(reader: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    """Refuse what is packed twice."""
    start = reader.peek(limits.CHUNK)
    if start.startswith((GZIP_MAGIC, ZSTD_MAGIC, ZIP_MAGIC)) and not is_workbook(start):
        raise Unreadable(0, Sentence("packed-twice", "the file is packed twice; unpack it once"))
    return reader


def _unzipped(head: io.BufferedReader[Any], notes: Counter[str]) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(seekable(head))
        return shards(archive) or _only_member(archive, notes)
    except (zipfile.BadZipFile, ValueError, IndexError, NotImplementedError, struct.error) as error:
        raise Unreadable(
            0,
            Sentence(
                "zip-damaged", "the zip archive is damaged or cut short (%(error)s); copy or pack it again", error=error
            ),
        ) from error


def _only_member(archive: zipfile.ZipFile, notes: Counter[str]) -> IO[bytes]:
    """The one data file of a zip; folders and what a Mac adds do not count."""
    found = [item for item in archive.infolist() if not item.is_dir() and not _is_rubbish(item.filename)]
    if other := other_archive([item.filename for item in found]):
        raise Unreadable(0, Sentence("file-is-other", "the file is %(other)s", other=other))
    if not found:
        raise Unreadable(0, Sentence("zip-empty", "the file is a zip archive without a file in it"))
    found = [item for item in found if PurePosixPath(item.filename).suffix.lower() in DATA] or found
    if len(found) > 1:
        names = ", ".join(PurePosixPath(item.filename).name for item in found[:6])
        raise Unreadable(
            0,
            Sentence(
                "zip-several",
                "the zip archive holds %(found)s files (%(names)s); import them one by one",
                found=len(found),
                names=names,
            ),
        )
    if found[0].flag_bits & 1:
        raise Unreadable(
            0,
            Sentence(
                "zip-encrypted",
                "%(filename)s in the zip archive is encrypted; unpack it first",
                filename=found[0].filename,
            ),
        )
    notes[Sentence("note-read-from-zip-archive", "read from the zip archive: %(found)s", found=found[0].filename)] = 1
    return archive.open(found[0])


def _is_rubbish(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name in (".DS_Store", "Thumbs.db", "desktop.ini")


def seekable(stream: IO[bytes] | io.BufferedReader[Any]) -> IO[bytes]:
    """A copy in a temporary file, which ends with it, for what must be read from its end."""
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115  (it lives as long as its reader)
    shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return spool


def as_utf8(reader: io.BufferedReader[Any], notes: Counter[str]) -> io.BufferedReader[Any]:
    """The text as UTF-8. Another encoding is taken where the bytes leave no doubt, and noted."""
    start = reader.peek(limits.CHUNK)[: limits.CHUNK]
    if other := other_kind(start):
        raise Unreadable(0, Sentence("file-is-other", "the file is %(other)s", other=other))
    if start.startswith(UTF8_BOM):
        reader.read(len(UTF8_BOM))
        return reader
    if encodings.is_binary(start):
        raise Unreadable(0, Sentence("file-is-binary", "the file is no text file; import JSON, CSV, Parquet or Arrow"))
    found = encodings.told_by(start)
    if found is None:
        return reader
    notes[Sentence("note-file-was-read-as", "the file was read as %(found)s", found=found.name)] = 1
    return buffered(encodings.Transcoded(reader, found))
