"""What the C library does with freed memory, on a CPU.

glibc gives a large freed tensor back to the system at once, and the next one of its size is put together again page by
page. An update frees and takes the same sizes over and over, so a policy stage lets it keep them, for all threads in
one place: what one thread freed, another may take.

What lies between two tensors in use is never given back by itself: after training that is a third of a process, and
saving comes on top of it. So a trainer's stage gives it back once it is trained.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
NEVER = 2**31 - 1  # bytes, the most that the call takes


def keep_freed_memory() -> bool:
    """For this process, from now on; False where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {M_TRIM_THRESHOLD: NEVER, M_MMAP_THRESHOLD: NEVER, M_ARENA_MAX: 1}
    return {mallopt(option, value) for option, value in wanted.items()} == {1}  # 1 is yes


def give_freed_memory_back() -> None:
    """All of it, once: the pages are taken anew when they are needed. Nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
