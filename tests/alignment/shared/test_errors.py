"""One answer to whether the disk is full, whoever says it."""

import errno

import pytest

from alignment.shared.errors import DiskFull, StageError, is_full


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        RuntimeError("basic_ios::clear: iostream error"),
        ValueError("I/O error: File too large (os error 27)"),
        DiskFull("No room to write x."),
    ],
)
def test_full(error: Exception) -> None:
    assert is_full(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        ValueError("I/O error: no such file (os error 2)"),
        ValueError("I/O error (os error 280)"),
        RuntimeError("[enforce fail at inline_container.cc:1] . PytorchStreamReader failed reading zip archive"),
        StageError("x"),
    ],
)
def test_not_full(error: Exception) -> None:
    assert not is_full(error)
