"""Files and folders that one process works at: held by locks that the kernel drops when it dies, however it dies.

So what a killed command left is told from what another one is just writing, and goes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from annotation_api.operations.local import OperationError

MARK = "rankloop-part-"  # how the names of unfinished work begin


@contextmanager
def held(path: Path, refusal: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """The file or folder, open, and this process's alone. Raises OperationError while it is another's."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor, path):
            raise OperationError(refusal)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """False where somebody has it, or had it a moment ago and moved it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A fresh folder, gone at the end; those that killed commands left go first."""
    for left in beside.glob(f"{MARK}*"):
        with suppress(OperationError, OSError), held(left, "in use"):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=MARK, dir=beside) as name:
        folder = Path(name)
        with held(folder, f"Another command is clearing {beside}; try again."):
            yield folder
