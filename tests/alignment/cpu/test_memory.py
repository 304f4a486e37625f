"""Freed memory stays with a policy stage, and goes back where it is asked to."""

import subprocess
import sys

FREE_AND_SAY = """
import ctypes, resource, sys
from alignment.cpu.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]


def touched(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    libc.free(place)


touched(2**25)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touched(2**25)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[str, int]:
    """What the call said, and the pages that ten allocations of 32 MB after the first one took."""
    done = subprocess.run([sys.executable, "-c", FREE_AND_SAY, mode], capture_output=True, text=True, check=True)
    said, pages = done.stdout.split()
    return said, int(pages)


def test_what_was_freed_is_taken_again_without_new_pages() -> None:
    assert faults("plain")[1] > 10_000
    said, pages = faults("keep")
    assert said == "True"
    assert pages < 100


GIVE_AND_SAY = """
import ctypes
from alignment.cpu.memory import give_freed_memory_back, keep_freed_memory
from tests.benchmarks.peers.ppo import resident

keep_freed_memory()  # so that all of it is the heap's
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = resident("VmRSS")
places = [libc.malloc(2**20) for _ in range(200)]
for place in places:
    ctypes.memset(place, 1, 2**20)
for place in places[:-1]:  # the last one, in use, holds the heap's end where it is
    libc.free(place)
held = resident("VmRSS") - before
give_freed_memory_back()
print(round(held), round(resident("VmRSS") - before))
"""


def test_what_lies_under_something_in_use_is_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", GIVE_AND_SAY], capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held >= 199
    assert left < 10
