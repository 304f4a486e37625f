"""Any exception of an attempt becomes a kind, a cause and a next step.

The stage's own process names what the stage raised, since not every exception travels; the launcher
names the rest. Loads neither Ray nor the database.
"""

from __future__ import annotations

import os
import re
import traceback
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from alignment.shared import errors
from alignment.shared.errors import is_full
from alignment.shared.sentence import Sentence
from alignment.shared.validation import explain
from annotation_api.db.kinds import ErrorKind

# What each exception of a stage is to the service; any other is a fault of ours.
KINDS: dict[type[errors.StageError], ErrorKind] = {
    errors.BadInput: ErrorKind.BAD_INPUT,
    errors.Diverged: ErrorKind.DIVERGED,
    errors.DiskFull: ErrorKind.DISK_FULL,
    errors.Damaged: ErrorKind.CORRUPT_CHECKPOINT,
    errors.PeersLost: ErrorKind.CLUSTER,
    errors.Cancelled: ErrorKind.CANCELLED,
}
AGAIN_OR_LOG = Sentence("again-or-log", "It is tried again by itself; if it keeps dying, look at the end of its log.")
PEERS = (
    "This one speaks through %(interface)s; open the machines to one another on every port. "
    "The job is tried again by itself."
)
SMALLER = Sentence("smaller-batch-or-model", "Lower micro_batch_size or max_length, or use a smaller model.")
# What torch says when it gets no memory, where it raises no OutOfMemoryError.
ALLOCATION_FAILED = re.compile(
    r"DefaultCPUAllocator|CUDA error: out of memory|CU(BLAS|SOLVER|SPARSE|DNN)_STATUS_ALLOC_FAILED"
)
# What torch says when processes that train together cannot reach one another, where it raises no error of its own.
CUT_OFF = re.compile(r"connectFullMesh|Connection (closed|reset) by peer|Socket Timeout|nccl(Remote|System)Error")
OF_NETWORK = ("DistNetworkError", "DistStoreError")  # torch's, without its import
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Ray writes for terminals


@dataclass(frozen=True)
class Fault:
    """What ended an attempt, as clients know it."""

    kind: ErrorKind
    cause: str
    next_step: str
    traceback: str | None = None


class AttemptError(Exception):
    """An attempt cannot go on. `cause` is one sentence, `next_step` says what the reader can do."""

    def __init__(self, kind: ErrorKind, cause: str, next_step: str = "") -> None:
        super().__init__(f"{cause} {next_step}".strip())
        self.kind, self.cause, self.next_step = kind, cause, next_step


class Faulted(Exception):
    """What ended the stage, named where it happened."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.cause} {fault.next_step}".strip())
        self.fault = fault


def fault_of(error: BaseException, settings: type[BaseModel] | None = None) -> Fault:
    """Name what ended an attempt. `settings` is the class that refused a config."""
    if isinstance(error, Faulted):
        return error.fault
    trace = COLOUR.sub("", "".join(traceback.format_exception(error)))
    named = _named(error, settings)
    if named is None:
        cause = Sentence(
            "unexpected-error", "An unexpected %(name)s: %(error)s", name=type(error).__name__, error=first_line(error)
        )
        return Fault(ErrorKind.INTERNAL, cause, Sentence("report-traceback", "Report it with the traceback."), trace)
    return Fault(named.kind, named.cause, named.next_step, None if named.kind is ErrorKind.CANCELLED else trace)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def kind_of(error: errors.StageError) -> ErrorKind:
    """What an exception of the stage is to the service's clients."""
    return next((kind for each, kind in KINDS.items() if isinstance(error, each)), ErrorKind.INTERNAL)


def _named(error: BaseException, settings: type[BaseModel] | None) -> AttemptError | None:
    """The fault, unless it is one that nobody foresaw."""
    if isinstance(error, AttemptError):
        return error
    if isinstance(error, errors.StageError):
        return AttemptError(kind_of(error), error.cause, error.next_step)
    if isinstance(error, ValidationError):
        first = explain(error, settings)[0]
        return AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("setting-wrong", "Setting %(pointer)s: %(message)s", pointer=first.pointer, message=first.message),
            Sentence("correct-it", "Correct it."),
        )
    if _is_memory(error):
        what = first_line(error) or "the host has none left"
        return AttemptError(
            ErrorKind.OUT_OF_MEMORY,
            Sentence("stage-out-of-memory", "The stage ran out of memory: %(what)s.", what=what.rstrip(".")),
            SMALLER,
        )
    if is_full(error):
        cause = Sentence("file-not-written", "A file could not be written: %(error)s", error=first_line(error))
        if isinstance(error, OSError):
            cause = Sentence(
                "disk-is-full", "The disk is full: %(filename)s.", filename=error.filename or error.strerror
            )
        return AttemptError(ErrorKind.DISK_FULL, cause, Sentence("free-space-retry", "Free space, then retry."))
    if type(error).__name__ in OF_NETWORK or (isinstance(error, RuntimeError) and CUT_OFF.search(str(error))):
        interface = os.environ.get("GLOO_SOCKET_IFNAME") or "the one of its own name"
        cause = Sentence(
            "peers-lost", "The processes that train together lost one another: %(error)s", error=first_line(error)
        )
        return AttemptError(ErrorKind.CLUSTER, cause, Sentence("peers-lost-next", PEERS, interface=interface))
    return None


def _is_memory(error: BaseException) -> bool:
    by_name = type(error).__name__ == "OutOfMemoryError"  # torch's, without its import
    return isinstance(error, MemoryError) or by_name or bool(ALLOCATION_FAILED.search(str(error)))
