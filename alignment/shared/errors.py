"""Why a stage cannot go on: one exception for each reason that its reader acts on differently.

Who runs a stage decides what each of them means there: the command line prints it, a service gives it a kind of its
own.
"""

from __future__ import annotations

import errno
import re
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, for this user, in this file
# What safetensors (by the system's number) and torch say of a write that failed, in place of an OSError.
WRITE_FAILED = re.compile(
    rf"(code:|os error) ?({'|'.join(map(str, FULL))})\b|PytorchStreamWriter failed|unexpected pos \d+ vs \d+"
    r"|iostream error"
)


class StageError(Exception):
    """A stage cannot go on. `cause` is one sentence, `next_step` says what the reader can do.

    As it is: a fault of ours, which the reader cannot mend.
    """

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(f"{cause} {next_step}".strip())
        self.cause, self.next_step = cause, next_step

    def __reduce__(self) -> tuple[Any, ...]:  # pickled by its two parts, not by the sentence that they make
        return (type(self), (self.cause, self.next_step))


class BadInput(StageError):
    """The caller's data, settings or model folder."""


class Diverged(StageError):
    """NaN, Inf or a KL explosion."""


class DiskFull(StageError):
    """No room for what a stage writes."""


class Damaged(StageError):
    """A manifest does not match its files."""


class PeersLost(StageError):
    """Processes that train together no longer reach one another."""


class Cancelled(StageError):
    """Somebody asked for it."""


def is_full(error: BaseException) -> bool:
    """Whether `error` says that something could not be written for want of room."""
    if isinstance(error, StageError):
        return isinstance(error, DiskFull)
    if isinstance(error, OSError):
        return error.errno in FULL
    return bool(WRITE_FAILED.search(str(error)))
