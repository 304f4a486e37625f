"""The desk under fire: clients that vanish in the middle of a task, and an API that is killed with SIGKILL.

    python -m tests.journey.desk_chaos [--tasks 2000] [--clients 100] [--kills 2]

A fifth of all claims belong to people who walk away for good; every second claim is fetched ahead, as the page
does. Whoever gets no answer sends the same submission again. At the end the tables are compared with what was
acknowledged: each task has exactly k judgements by k people, nothing acknowledged is lost, nothing is doubled.
Prints the counts; exits 1 if one of them is wrong. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.journey.desk import Desk, Wire, ranking_of

OVERLAP, LEASE_SECONDS, VANISHING = 3, 3, 0.2
LIMIT = 600.0  # seconds after which the run counts as stuck
PAUSE = 0.1  # seconds before asking again, when nothing is left or nobody answers

COUNTS = """
WITH per_task AS (
    SELECT t.overlap, t.judged, count(s.id) AS submissions, count(DISTINCT a.person_id) AS people
    FROM tasks t
    LEFT JOIN assignments a ON a.task_id = t.id AND a.state = 'submitted'
    LEFT JOIN submissions s ON s.assignment_id = a.id
    GROUP BY t.id
)
SELECT count(*) FILTER (WHERE submissions > overlap) AS over,
    count(*) FILTER (WHERE submissions = overlap AND judged = overlap) AS exact,
    count(*) FILTER (WHERE people < submissions) AS twice
FROM per_task
"""


@dataclass
class Run:
    """What the clients know."""

    desk: Desk
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    acknowledged: set[uuid.UUID] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    vanished: int = 0
    done: bool = False


def main() -> int:
    options = _options()
    people = options.clients + int(options.tasks * OVERLAP * VANISHING * 2)
    with Desk(tasks=options.tasks, people=people, overlap=OVERLAP, lease_seconds=LEASE_SECONDS) as desk:
        run, start = Run(desk), time.monotonic()
        asyncio.run(storm(run, options.clients, options.kills))
        print(f"{options.tasks} tasks, k={OVERLAP}, {options.clients} clients, {time.monotonic() - start:.0f} s")
        return report(run, options.tasks)


async def storm(run: Run, clients: int, kills: int) -> None:
    """All clients at work, and the API killed at equal distances on the way."""
    keys = iter(run.desk.keys)
    work = [asyncio.create_task(client(run, next(keys), keys)) for _ in range(clients)]
    wanted, deadline = run.desk.tasks * OVERLAP, time.monotonic() + LIMIT
    for kill in range(1, kills + 1):
        while len(run.acknowledged) < wanted * kill // (kills + 1) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        print(f"killing the API after {len(run.acknowledged)} acknowledged submissions", flush=True)
        run.desk.kill_api()
        await asyncio.to_thread(run.desk.start_api)
    while open_tasks(run.desk) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    run.done = True
    await asyncio.gather(*work)


async def client(run: Run, key: str, keys: Any) -> None:
    """One place at a desk: who vanishes is followed by somebody new."""
    wire, hand = Wire(run.desk.port, key), []
    while not run.done:
        task = hand.pop() if hand else await claim(run, wire)
        if task is None:
            await asyncio.sleep(PAUSE)
            continue
        if run.chance.random() < 0.5:
            hand += filter(None, [await claim(run, wire, besides=task["assignment"])])
        if run.chance.random() < VANISHING and (key := next(keys, "")):
            run.vanished += 1
            wire.close()
            wire, hand = Wire(run.desk.port, key), []
            continue
        await submit(run, wire, task)
    wire.close()


async def claim(run: Run, wire: Wire, besides: str | None = None) -> dict[str, Any] | None:
    """A task, or None when there is none just now."""
    path = f"/v1/projects/{run.desk.project}/next" + (f"?besides={besides}" if besides else "")
    status, body = await call(run, wire, "next", path, b"")
    return json.loads(body) if status == 200 else None


async def submit(run: Run, wire: Wire, task: dict[str, Any]) -> None:
    """Until there is an answer: the id is the client's, so that sending it again is safe."""
    key = uuid.uuid4()
    while not run.done:
        status, _ = await call(run, wire, "submit", "/v1/submissions", ranking_of(task, str(key)))
        if status in (200, 201):
            run.acknowledged.add(key)
        if 200 <= status < 500:
            return
        await asyncio.sleep(PAUSE)


async def call(run: Run, wire: Wire, name: str, path: str, body: bytes) -> tuple[int, bytes]:
    """The answer; 599 where the connection broke."""
    try:
        status, answer = await wire.call("POST", path, body)
    except (OSError, EOFError):
        wire.close()
        await asyncio.sleep(PAUSE)
        status, answer = 599, b""
    run.answers[f"{name} {'no answer' if status == 599 else status}"] += 1
    return status, answer


def open_tasks(desk: Desk) -> int:
    with psycopg.connect(desk.postgres.url) as connection:
        row = connection.execute("SELECT count(*) FROM tasks WHERE judged < overlap").fetchone()
    return int(row[0]) if row else 0


def report(run: Run, tasks: int) -> int:
    """Print the table; 1 if something is wrong."""
    with psycopg.connect(run.desk.postgres.url) as connection:
        over, exact, twice = connection.execute(COUNTS).fetchone() or (0, 0, 0)
        stored = [row[0] for row in connection.execute("SELECT id FROM submissions")]
        doubled = connection.execute(
            "SELECT count(*) FROM (SELECT FROM submissions GROUP BY assignment_id HAVING count(*) > 1) AS d"
        ).fetchone()
    faults = sum(n for answer, n in run.answers.items() if answer.split()[1] in ("500", "404", "422", "401"))
    table = [
        ("tasks over k", over, 0),
        (f"tasks with exactly {OVERLAP} judgements", exact, tasks),
        ("tasks with a person twice", twice, 0),
        ("acknowledged submissions", len(run.acknowledged), tasks * OVERLAP),
        ("acknowledged and lost", len(run.acknowledged - set(stored)), 0),
        ("doubled", doubled[0] if doubled else 0, 0),
        ("answers that should not be", faults, 0),
    ]
    for what, found, right in table:
        print(f"  {what:34} {found:7}  {'' if found == right else f'WRONG, should be {right}'}")
    print(f"  people who vanished {run.vanished}; answers {dict(sorted(run.answers.items()))}")
    return int(any(found != right for _, found, right in table))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--kills", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
