"""Joins the Ray cluster as a launcher does, looks at its machines, and leaves it.

    python -m workers.executors.probe ADDRESS HOME

Exit code 0 when a launcher would get in and a stage could run on one of the machines; each line of standard output
names one on which it could not. Otherwise 1 and the reason. The dispatcher runs it with a launcher's environment. It
is a process of its own because Ray ends a process that has joined a cluster soon after the head is lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from workers.executors import cluster
from workers.executors.machines import machines
from workers.executors.placement import Needs, told
from workers.stage.faults import AttemptError


def main(address: str, home: str) -> int:
    try:
        cluster.connect(address, Path(), processes=1)
    except AttemptError as reason:
        print(" ".join(str(reason).split()))
        return 1
    there = machines().there
    unfit = told({machine.node: Needs(Path(home)).ask(machine.node) for machine in there})
    for machine in there:
        if why := unfit.get(machine.node):
            print(f"{machine.name} {why}")
    ray.shutdown()
    return 0 if len(unfit) < len(there) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
