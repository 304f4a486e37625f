"""Files of a folder that somebody else made, opened with care: never through a link, never one that blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from alignment.shared.sentence import Sentence


class UnsafeModel(ValueError):
    """A model folder breaks a rule: `cause` names the file and what is wrong with it, `next_step` what to do."""

    def __init__(self, cause: str, next_step: str) -> None:
        super().__init__(f"{cause} {next_step}")
        self.cause, self.next_step = cause, next_step


def require_regular(path: Path, limit: int) -> None:
    """Refuse what is not a regular file of up to `limit` bytes, without opening it."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise UnsafeModel(
            Sentence(
                "unsafe-cannot-be-opened", "%(file)s cannot be opened: %(why)s.", file=path.name, why=error.strerror
            ),
            Sentence("unsafe-check-file", "Check the file."),
        ) from None
    _require_regular(path, status)
    if status.st_size > limit:
        raise _too_large(path, limit)


def open_regular(path: Path) -> int:
    """A descriptor of the regular file at `path`, which is not a link; the caller closes it.

    The kind is looked at before (opening a device can do something, a pipe waits for a writer) and after
    (the file may have been exchanged in between).
    """
    try:
        _require_regular(path, os.lstat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnsafeModel(
            Sentence(
                "unsafe-cannot-be-opened", "%(file)s cannot be opened: %(why)s.", file=path.name, why=error.strerror
            ),
            Sentence("unsafe-check-file", "Check the file."),
        ) from None
    try:
        _require_regular(path, os.fstat(descriptor))
    except UnsafeModel:
        os.close(descriptor)
        raise
    return descriptor


def read_limited(path: Path, limit: int) -> bytes:
    """All bytes of a regular file; UnsafeModel where it holds more than `limit`."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def no_stand_in(name: str, start: bytes) -> None:
    """Refuse what stands where the file should: a pointer that was never followed, a page in place of a download."""
    if start.startswith(b"version https://git-lfs"):
        raise UnsafeModel(
            Sentence("unsafe-lfs-pointer", "%(file)s is a pointer of Git LFS, not the file itself.", file=name),
            Sentence("unsafe-lfs-pull", "Fetch it: git lfs pull."),
        )
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise UnsafeModel(
            Sentence("unsafe-html", "%(file)s is a page of HTML, perhaps a sign-in or an error.", file=name),
            Sentence("unsafe-download-again", "Download it again."),
        )


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeModel(
            Sentence("unsafe-not-regular-file", "%(file)s is not a regular file.", file=path.name),
            Sentence("unsafe-replace-file-itself", "Replace it by the file itself."),
        )


def _too_large(path: Path, limit: int) -> UnsafeModel:
    return UnsafeModel(
        Sentence(
            "unsafe-larger-than-bytes", "%(file)s is larger than %(limit)s bytes.", file=path.name, limit=f"{limit:,}"
        ),
        Sentence("unsafe-no-model-needs-save", "No model needs that; save the model again."),
    )
