"""Why a stage cannot go on: one exception for each reason that its reader acts on differently.

Who runs a stage decides what each of them means there: the command line prints it, a service gives it a kind of its
own.
"""

from __future__ import annotations

from typing import Any


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
