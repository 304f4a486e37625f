"""A model that comes in over REST: file by file, each in as many parts as its sender likes, then it is checked.

What has arrived lies in RANKLOOP_HOME/model-uploads/ID/, so an upload outlives a lost connection and a restart of the
service. When it is whole it is looked at as any stranger's folder is (`alignment.untrusted.folder`), moved below
RANKLOOP_HOME/models in one rename, and registered. What nobody came back for is deleted after KEPT_SECONDS.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from alignment.untrusted import folder as safe_folder
from annotation_api.http.errors import ApiError, invalid, not_found

KEPT_SECONDS = 7 * 24 * 3600
MOST_OPEN = 10  # uploads of a person
BLOCK = 2**20  # bytes that are written at once
ABOUT = "upload.json"


@dataclass(frozen=True)
class ModelUpload:
    """A folder that fills."""

    home: Path
    id: uuid.UUID
    person: uuid.UUID
    name: str

    @property
    def folder(self) -> Path:
        return _place(self.home) / str(self.id)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def target(self) -> Path:
        """Where the model will lie."""
        return Path(os.path.realpath(self.home)) / "models" / str(self.id)

    def sizes(self) -> dict[str, int]:
        """Bytes that have arrived, by file."""
        return {path.name: path.stat().st_size for path in sorted(self.files.iterdir())} if self.files.is_dir() else {}


def _place(home: Path) -> Path:
    return home / "model-uploads"


def begin(home: Path, person: uuid.UUID, name: str) -> ModelUpload:
    """A new, empty upload. 429 when the person has too many that are not finished."""
    _sweep(home)
    if sum(found.person == person for found in _all(home)) >= MOST_OPEN:
        detail = Sentence(
            "uploads-open", "You have %(n)s uploads that are not finished. Finish or delete one first.", n=MOST_OPEN
        )
        raise ApiError(429, "too-many-uploads", detail, headers={"Retry-After": "60"})
    upload = ModelUpload(home, uuid.uuid4(), person, name)
    with _disk():
        upload.files.mkdir(parents=True, mode=0o700)
        about, part = upload.folder / ABOUT, upload.folder / f"{ABOUT}.part"
        part.write_text(json.dumps({"person": str(person), "name": name}), "utf-8")
        part.rename(about)  # whole or absent
    return upload


def find(home: Path, person: uuid.UUID, key: uuid.UUID) -> ModelUpload:
    """404 for what is another person's, too."""
    found = _read(home, key)
    if found is None or found.person != person:
        raise not_found("upload", key)
    return found


def discard(upload: ModelUpload) -> None:
    with suppress(FileNotFoundError):  # in two tabs
        shutil.rmtree(upload.folder)


def _all(home: Path) -> Iterator[ModelUpload]:
    for path in _place(home).glob(f"*/{ABOUT}"):
        if found := _read(home, uuid.UUID(path.parent.name)):
            yield found


def _read(home: Path, key: uuid.UUID) -> ModelUpload | None:
    try:
        about = json.loads((_place(home) / str(key) / ABOUT).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return ModelUpload(home, key, uuid.UUID(about["person"]), about["name"])


def _sweep(home: Path) -> None:
    """Also what a crash left: without a word on whose it is, or with its files moved to where models lie."""
    for folder in _place(home).glob("*"):
        with suppress(FileNotFoundError):  # somebody else just discards it
            if time.time() - max(path.stat().st_mtime for path in _inside(folder)) > KEPT_SECONDS:
                shutil.rmtree(folder)


def _inside(folder: Path) -> list[Path]:
    return [folder / name for name in os.listdir(folder)] + list(folder.glob("files/*")) or [folder]


# ---------------------------------------------------------------- one part


async def receive(upload: ModelUpload, name: str, offset: int, parts: AsyncIterator[bytes]) -> int:
    """Write the bytes at `offset`, which lies at the end of what is there or before it; the file's size now.

    What was beyond `offset` is cut off first: a part whose answer was lost is simply sent again.
    """
    if not safe_folder.is_usable(name):
        message = Sentence(
            "model-files-are",
            "A model's files are weights as .safetensors, settings as .json, vocabulary and chat template.",
        )
        raise invalid(
            [
                Problem(
                    pointer="path:name",
                    message=Sentence("file-none-of-them", "%(message)s This is none of them.", message=message),
                    value=name[:80],
                )
            ]
        )
    if not upload.files.is_dir():
        detail = Sentence("upload-whole", "This upload is whole, and lies where models do. Finish it.")
        raise ApiError(409, "upload-whole", detail)
    with _disk(), _held(upload.files / name) as descriptor:
        if offset > (there := os.fstat(descriptor).st_size):
            detail = Sentence(
                "bytes-so-far",
                "%(name)s has %(there)s bytes so far; go on at offset=%(there)s.",
                name=name,
                there=there,
            )
            raise ApiError(409, "wrong-offset", detail, headers={"Upload-Offset": str(there)})
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        await _write(descriptor, name, offset, parts)
        await run_in_threadpool(os.fsync, descriptor)
        return os.fstat(descriptor).st_size


async def _write(descriptor: int, name: str, size: int, parts: AsyncIterator[bytes]) -> None:
    """In blocks, each in a thread. What has arrived before the connection breaks stays."""
    limit, block = safe_folder.most_bytes(name), bytearray()
    try:
        async for part in parts:
            size += len(part)
            if size > limit:
                raise ApiError(
                    413,
                    "too-large",
                    Sentence(
                        "file-beyond-limit",
                        "%(name)s is larger than %(limit)s bytes; no model needs that.",
                        name=name,
                        limit=f"{limit:,}",
                    ),
                )
            block += part
            if len(block) >= BLOCK:
                await run_in_threadpool(_write_whole, descriptor, bytes(block))
                block.clear()
    finally:
        _write_whole(descriptor, bytes(block))


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """The file, open for this request alone; 409 while another one writes it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        detail = Sentence(
            "file-being-written",
            "Another request is writing %(path)s now. Ask how much of it is there, and go on.",
            path=path.name,
        )
        raise ApiError(409, "upload-busy", detail, headers={"Retry-After": "1"}) from None
    finally:
        os.close(descriptor)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ApiError(
            507,
            "no-space",
            Sentence("file-not-kept", "The server cannot keep the file: %(error)s.", error=error.strerror or error),
        ) from None


# ---------------------------------------------------------------- the end


def check_hashes(upload: ModelUpload, wanted: Mapping[str, str]) -> None:
    """422 where a file is not what its sender says that it is."""
    problems = []
    for name, sha256 in wanted.items():
        path = upload.files / name
        found = _sha256(path) if safe_folder.is_usable(name) and path.is_file() else None
        if found != sha256.lower():
            message = (
                Sentence("hash-differs", "%(name)s hashes to %(found)s; send it again.", name=name, found=found)
                if found
                else Sentence("not-in-upload", "There is no %(name)s in this upload.", name=name)
            )
            problems.append(Problem(pointer=f"/sha256/{name}", message=message, value=sha256[:80]))
    if problems:
        raise invalid(problems)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(upload: ModelUpload) -> Path:
    """Move the checked folder to where models lie; again after a crash, it is there already."""
    with _disk():
        upload.target.parent.mkdir(parents=True, exist_ok=True)
        if upload.files.is_dir():
            upload.files.rename(upload.target)
    return upload.target
