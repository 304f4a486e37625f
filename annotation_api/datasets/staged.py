"""An upload that waits for its owner to look at the preview: one file a person, in RANKLOOP_HOME/uploads.

The sha256 of the content names it, so that what is imported is what was shown. A newer upload of the
same person replaces it; what nobody came back for is deleted after KEPT_SECONDS.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

from alignment.shared.sentence import Sentence
from annotation_api.http.errors import ApiError

KEPT_SECONDS = 24 * 3600
CHUNK = 2**20
_TOKEN = re.compile(r"[0-9a-f]{64}")


def keep(home: Path, person: uuid.UUID, file: IO[bytes]) -> str:
    """Copy the upload and return its token. Raises ApiError 507 when the disk does not take it."""
    folder = home / "uploads"
    part = folder / f"{uuid.uuid4()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(folder, person)
        digest = hashlib.sha256()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
            while data := file.read(CHUNK):
                digest.update(data)
                copy.write(data)
        part.replace(_path(home, person, digest.hexdigest()))
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise ApiError(
            507,
            "no-space",
            Sentence("file-not-kept", "The server cannot keep the file: %(error)s.", error=error.strerror or error),
        ) from None
    return digest.hexdigest()


def reopen(home: Path, person: uuid.UUID, token: str) -> IO[bytes]:
    """The file of this token. Raises ApiError 410 when it is gone."""
    try:
        if not _TOKEN.fullmatch(token):
            raise FileNotFoundError(token)
        return _path(home, person, token).open("rb")
    except FileNotFoundError:
        detail = Sentence(
            "upload-gone",
            "The uploaded file is no longer kept: a newer upload took its place, or a day went by. Upload it again.",
        )
        raise ApiError(410, "upload-gone", detail) from None


def forget(home: Path, person: uuid.UUID, token: str) -> None:
    if _TOKEN.fullmatch(token):
        _path(home, person, token).unlink(missing_ok=True)


def _path(home: Path, person: uuid.UUID, token: str) -> Path:
    return home / "uploads" / f"{person}.{token}"


def _sweep(folder: Path, person: uuid.UUID) -> None:
    """Delete the person's older uploads and everybody's forgotten ones."""
    for path in folder.iterdir():
        if path.name.startswith(str(person)) or time.time() - path.stat().st_mtime > KEPT_SECONDS:
            path.unlink(missing_ok=True)
