"""Rankings for as long as asked, while API and Postgres are killed with SIGKILL by a seeded chance.

    python -m tests.hostile.kill_desk [--minutes 25] [--kills 200] [--seed 0] [--counts FILE]

People rank without a pause in the run: whoever gets no answer sends the same submission again. Killed are the API's
process, Postgres' first process, or one of those that serve a connection. At the end the tables are compared with what
was acknowledged. The counts are a line of FILE, and the sum over all its lines is printed; exits 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.journey.desk import Desk, Wire
from tests.journey.desk_chaos import Run, claim, submit

COUNTS = Path(__file__).with_suffix(".jsonl")
VICTIMS = {"api": 5, "postgres": 4, "connection": 1}  # and how often each
SERVING = "postgres: rankloop rankloop"  # the title of a process that serves a connection
THINK = 1.0  # seconds, on average
LEAST = 3.0  # from one kind's return to its next kill: on a slow machine, too, people work in between
CONNECTED_SECONDS = 60.0  # the longest wait for a connection to be killed
SPARE = 1.5  # tasks for each that people could do at this pace
NEVER = ("401", "404", "409", "410", "422", "500")  # no answer to somebody who ranks what was handed to them
LOST = """
SELECT count(*) FROM unnest(%s::uuid[]) AS told(id)
WHERE NOT EXISTS (SELECT FROM submissions s WHERE s.id = told.id)
"""
DOUBLED = """
SELECT (SELECT count(*) FROM (SELECT FROM submissions GROUP BY assignment_id HAVING count(*) > 1) AS twice)
    + (SELECT count(*) FROM (SELECT FROM assignments WHERE state = 'submitted'
       GROUP BY task_id, person_id HAVING count(*) > 1) AS again)
    + (SELECT count(*) FROM tasks t WHERE t.judged <> (SELECT count(*) FROM submissions s
       JOIN assignments a ON a.id = s.assignment_id WHERE a.task_id = t.id))
"""


def main() -> int:
    options = _options()
    tasks = int(options.clients * options.minutes * 60 / THINK * SPARE) + 100
    with Desk(tasks=tasks, people=options.clients, overlap=1, k=2, lease_seconds=3600) as desk:
        run, killed, began = Run(desk), Counter[str](), time.monotonic()
        try:
            asyncio.run(_storm(run, killed, options))
        finally:  # also what an interrupted run has seen counts
            counts = _counts(run, killed) | {"seed": options.seed, "minutes": round((time.monotonic() - began) / 60, 1)}
            _keep(counts, options.counts)
    print(f"all runs: {_total(options.counts)}")
    return int(any(counts[wrong] for wrong in ("lost", "doubled", "wrong")))


def _keep(counts: dict[str, Any], file: Path) -> None:
    line = json.dumps(counts)
    print(line)
    with file.open("a") as lines:
        lines.write(line + "\n")


async def _storm(run: Run, killed: Counter[str], options: argparse.Namespace) -> None:
    """People at work; beside them the API dies at moments of its own, and Postgres at its own."""
    work = [asyncio.create_task(_annotator(run, key, random.Random(key))) for key in run.desk.keys]
    killers = (
        _killer(run.desk, ("api",), killed, options),
        _killer(run.desk, ("postgres", "connection"), killed, options),
    )
    await asyncio.gather(*killers)
    await asyncio.sleep(5 * THINK)  # who waits for an answer gets it
    run.done = True
    await asyncio.gather(*work)


async def _killer(desk: Desk, victims: tuple[str, ...], killed: Counter[str], options: argparse.Namespace) -> None:
    """Kill one of these at each of its moments, or as soon after it as the one before is back."""
    chance, clock = random.Random(f"{options.seed} {victims}"), asyncio.get_running_loop().time
    weights = [VICTIMS[name] for name in victims]
    kills, seconds, began = options.kills * sum(weights) // sum(VICTIMS.values()), options.minutes * 60, clock()
    for number in range(kills):
        due = began + seconds / kills * (number + chance.random())
        await asyncio.sleep(max(LEAST, due - clock()))
        if clock() > began + seconds:
            return
        (victim,) = chance.choices(victims, weights)
        killed[victim] += await asyncio.to_thread(_kill, desk, victim, chance)


def _kill(desk: Desk, victim: str, chance: random.Random) -> bool:
    """And start again what does not come back by itself; whether there was one to be killed."""
    if victim == "api":
        desk.kill_api()
        desk.start_api()
    elif victim == "postgres":
        os.kill(desk.postgres.pid, signal.SIGKILL)
        while desk.postgres.running:
            time.sleep(0.01)
        desk.postgres.start()
    else:  # Postgres ends all others, too, and recovers by itself
        connections = _connections(desk)
        if connections:
            chance.choice(connections).kill()
        return bool(connections)
    return True


def _connections(desk: Desk) -> list[psutil.Process]:
    """Those of Postgres' processes that serve one; as soon as there is one, for the API may just be dead."""
    deadline = time.monotonic() + CONNECTED_SECONDS
    while time.monotonic() < deadline:
        if found := [child for child in psutil.Process(desk.postgres.pid).children() if _serves(child)]:
            return found
        time.sleep(0.05)
    return []


def _serves(child: psutil.Process) -> bool:
    try:
        return SERVING in "".join(child.cmdline())
    except psutil.NoSuchProcess:  # it ended meanwhile
        return False


async def _annotator(run: Run, key: str, chance: random.Random) -> None:
    wire = Wire(run.desk.port, key)
    while not run.done:
        await asyncio.sleep(THINK * 2 * chance.random())
        if task := await claim(run, wire):
            await submit(run, wire, task)
    wire.close()


def _counts(run: Run, killed: Counter[str]) -> dict[str, Any]:
    with psycopg.connect(run.desk.postgres.url) as connection:
        (lost,) = connection.execute(LOST, [list(run.acknowledged)]).fetchone() or (-1,)
        (doubled,) = connection.execute(DOUBLED).fetchone() or (-1,)
    return {
        "kills": sum(killed.values()),
        **{name: killed[name] for name in VICTIMS},
        "acknowledged": len(run.acknowledged),
        "lost": lost,
        "doubled": doubled,
        "wrong": sum(count for answer, count in run.answers.items() if answer.split()[1] in NEVER),
        "answers": dict(sorted(run.answers.items())),
    }


def _total(file: Path) -> dict[str, int]:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    names = ("kills", *VICTIMS, "acknowledged", "lost", "doubled", "wrong")
    return {"runs": len(lines), **{name: sum(line[name] for line in lines) for name in names}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--counts", type=Path, default=COUNTS, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
