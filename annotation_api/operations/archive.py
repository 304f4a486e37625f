"""A backup's file: a plain tar whose last members say what must be in it.

    database.sql.gz, then files below artifacts/, checkpoints/ and models/, then manifest.json and its sha256

A reader that finds no manifest at the end knows that the file was cut off. It is written beside its
final name and moved there when it is whole; only its owner may read it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from annotation_api.operations.alone import held, scratch
from annotation_api.operations.local import OperationError

FORMAT = 1
MANIFEST, SEAL, DATABASE = "manifest.json", "manifest.sha256", "database.sql.gz"
FOLDERS = ("artifacts", "checkpoints", "models")
CHUNK = 2**20
SHOWN = 5  # damaged files that are named

Advance = Callable[[int], object]


@dataclass(frozen=True)
class Stored:
    sha256: str
    size: int


@dataclass
class Manifest:
    """What a backup says of itself."""

    format: int
    rankloop: str  # the version that wrote it
    created: str
    schema: str  # the database's level
    postgres: int
    home: str  # paths in the database begin with it
    files: dict[str, Stored] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)  # files that were missing or changed when it was made
    left_out: list[str] = field(default_factory=list)  # what the service uses and the backup has not

    def text(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


class Writer:
    def __init__(self, tar: tarfile.TarFile, manifest: Manifest, advance: Advance) -> None:
        self._tar, self.manifest, self._advance = tar, manifest, advance

    def add(self, name: str, path: Path) -> Stored:
        """Copy a file and remember its hash."""
        with path.open("rb") as source:
            stat = os.fstat(source.fileno())
            member = tarfile.TarInfo(name)
            member.size, member.mtime = stat.st_size, int(stat.st_mtime)
            reader = _Hashing(source, self._advance)
            self._tar.addfile(member, reader)
        stored = self.manifest.files[name] = Stored(reader.digest.hexdigest(), member.size)
        return stored

    def close(self) -> None:
        text = self.manifest.text()
        for name, content in ((MANIFEST, text), (SEAL, hashlib.sha256(text).hexdigest().encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))


class _Hashing(io.RawIOBase):
    """A file as tarfile reads it; hashed and counted on the way."""

    def __init__(self, source: IO[bytes], advance: Advance) -> None:
        self._source, self._advance, self.digest = source, advance, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        self._advance(len(data))
        return data


@contextmanager
def written(target: Path, manifest: Manifest, advance: Advance) -> Iterator[Writer]:
    """A writer inside; the file stands under its name only after the block ended well. Raises OperationError while
    another command writes there."""
    part = target.with_name(target.name + ".part")
    with held(part, f"Another backup is being written to {target}; choose another name.", os.O_RDWR | os.O_CREAT) as it:
        try:
            os.ftruncate(it, 0)
            with os.fdopen(it, "wb", closefd=False) as file:
                with streamed(file, manifest, advance) as writer:
                    yield writer
                file.flush()
                os.fsync(it)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def streamed(output: IO[bytes], manifest: Manifest, advance: Advance) -> Iterator[Writer]:
    """A writer inside, for a file or a pipe. Without a block that ended well the archive has no manifest."""
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        writer = Writer(tar, manifest, advance)
        yield writer
        writer.close()


@contextmanager
def received(source: IO[bytes], folder: Path) -> Iterator[Path]:
    """What comes through a pipe, as a file below `folder`: a backup says at its end what must be in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder) as place:
        path = place / "backup"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        yield path


class Reader:
    """An opened backup whose manifest is good; the rest is checked as it is read."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path, self._tar = path, tar
        self._members = {member.name: member for member in tar}
        self.manifest = self._manifest()

    def _manifest(self) -> Manifest:
        text, seal = (self._content(name) for name in (MANIFEST, SEAL))
        if hashlib.sha256(text).hexdigest().encode() != seal:
            raise OperationError(f"{self._path} is damaged: {MANIFEST} does not have its sha256.")
        values: dict[str, Any] = json.loads(text)
        if values["format"] != FORMAT:
            raise OperationError(f"{self._path} has format {values['format']}; this Rankloop reads {FORMAT}.")
        files = {name: Stored(**stored) for name, stored in values.pop("files").items()}
        return Manifest(**values, files=files)

    def _content(self, name: str) -> bytes:
        member = self._members.get(name)
        source = self._tar.extractfile(member) if member and member.isreg() else None
        if source is None:
            last = next(reversed(self._members), "nothing")
            raise OperationError(f"{self._path} is no whole backup: {name} is missing; the last it holds is {last}.")
        return source.read()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(stored.size for stored in self.manifest.files.values())

    def extract(self, folder: Path, advance: Advance) -> None:
        """Write every file below `folder`. Raises OperationError that names what is damaged."""
        bad = []
        for name, stored in self.manifest.files.items():
            found = self._extract(name, folder / _safe(self._path, name), advance)
            if found != stored:
                bad.append(f"{name} {'is missing' if found is None else 'does not have its sha256'}")
        if bad:
            more = f", and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            raise OperationError(f"{self._path} is damaged: {', '.join(bad[:SHOWN])}{more}. Nothing was restored.")

    def _extract(self, name: str, target: Path, advance: Advance) -> Stored | None:
        member = self._members.get(name)
        source = self._tar.extractfile(member) if member and member.isreg() else None
        if source is None:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with target.open("xb") as file:
            while chunk := _read(source):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        return Stored(digest.hexdigest(), size)


def _read(source: IO[bytes]) -> bytes:
    """The next bytes; none at the end, also where the archive was cut."""
    try:
        return source.read(CHUNK)
    except tarfile.ReadError:
        return b""


def _safe(archive: Path, name: str) -> str:
    """The name, if it leads to where files of a backup belong."""
    path = PurePosixPath(name)
    below = len(path.parts) > 1 and path.parts[0] in FOLDERS
    if (name != DATABASE and not below) or ".." in path.parts or "\\" in name or path.as_posix() != name:
        raise OperationError(f"{archive} is no backup of Rankloop: it holds {name!r}.")
    return name


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield Reader(path, tar)
    except tarfile.TarError as error:
        raise OperationError(f"{path} is no whole backup: {error}.") from None
