"""Is the disk full? One answer, from whatever the system, torch or safetensors raises when a write finds no room."""

from __future__ import annotations

import errno
import re

from alignment.shared.errors import DiskFull, StageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, for this user, in this file
# What safetensors (by the system's number) and torch say of a write that failed, in place of an OSError.
WRITE_FAILED = re.compile(
    rf"(code:|os error) ?({'|'.join(map(str, FULL))})\b|PytorchStreamWriter failed|unexpected pos \d+ vs \d+"
    r"|iostream error"
)


def is_full(error: BaseException) -> bool:
    """Whether `error` says that something could not be written for want of room."""
    if isinstance(error, StageError):
        return isinstance(error, DiskFull)
    if isinstance(error, OSError):
        return error.errno in FULL
    return bool(WRITE_FAILED.search(str(error)))
