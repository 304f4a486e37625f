"""Joins the Ray cluster as a launcher does, and leaves it: exit code 0, or 1 and the reason on standard output.

    python -m workers.executors.probe ADDRESS

The dispatcher runs it with a launcher's environment. It is a process of its own because Ray ends a process that
has joined a cluster soon after the head is lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from alignment.shared.events import StageError
from workers.executors import cluster


def main(address: str) -> int:
    try:
        cluster.connect(address, Path(), processes=1)
    except StageError as reason:
        print(" ".join(str(reason).split()))
        return 1
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
