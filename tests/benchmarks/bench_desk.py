"""How fast the desk hands out and takes in work: 50 clients back to back, then 500 people who think.

    python -m tests.benchmarks.bench_desk [--seconds 20] [--clients 50] [--people 500] [--think 15] [--judgements N]

With `--judgements` the project was worked at before, and what its owner asks for is timed, too (`desk_at_scale`).

Client, API (one process, started as `rankloop up` starts it) and Postgres share the machine. Prints p50, p95
and p99 of claim (`next`) and submit in milliseconds, requests a second, errors, the API's memory, and CPU
milliseconds a request of the API, of Postgres and of the client: those hold also on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import uvloop

from tests.journey.desk import Desk, Wire, ranking_of
from tests.support.scale import desk_at_scale

PEERS = """peers, 50 clients back to back on 2 cores, client beside them, development servers (p99):
  potato 2.12.1          submit 2.5 s   next item 3.3 s    memory 252 MB
  Label Studio 1.23.2    submit 13.0 s  next item 10.8 s   memory 420 MB"""
GOALS = {"back to back": 150, "thinking": 50}  # milliseconds, p99


@dataclass
class Tally:
    """What was measured in one phase: milliseconds by kind of request, and answers that should not be."""

    times: dict[str, list[float]] = field(default_factory=lambda: {"next": [], "submit": []})
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return sum(map(len, self.times.values()))


def main() -> None:
    options = _options()
    people = max(options.clients, options.people)
    with Desk(tasks=options.tasks, k=4, overlap=3, people=people) as desk:
        print(f"{options.tasks} tasks, K=4, overlap 3; load average before: {os.getloadavg()[0]:.1f}")
        if options.judgements:
            desk_at_scale.fill(desk, options.judgements)
            desk_at_scale.pages(desk)
        phase(desk, "back to back", lambda tally: back_to_back(desk, tally, options.clients, options.seconds))
        if options.people:
            phase(desk, "thinking", lambda tally: thinking(desk, tally, options.people, options.think, options.seconds))
        if options.judgements:
            desk_at_scale.freezes(desk)
        if log := desk.log().strip():
            print(f"the API's log:\n{log[-2000:]}")
    print(PEERS)


def phase(desk: Desk, name: str, run: Callable[[Tally], Awaitable[None]]) -> None:
    """Run clients against the desk and print what came of it."""
    tally, before, start = Tally(), cpu(desk), time.perf_counter()
    uvloop.run(run(tally))
    wall = time.perf_counter() - start
    spent = {who: seconds - before[who] for who, seconds in cpu(desk).items()}
    print(f"\n{name}: {tally.requests} requests in {wall:.1f} s, {tally.requests / wall:.0f}/s, ", end="")
    print(f"errors {sum(tally.errors.values())} {dict(+tally.errors) or ''}")
    for kind, times in tally.times.items():
        p50, p95, p99 = (percentile(times, share) for share in (0.5, 0.95, 0.99))
        print(f"  {kind:7} p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f} ms   (goal: p99 {GOALS[name]})")
    each = ", ".join(f"{who} {1000 * seconds / max(tally.requests, 1):.2f}" for who, seconds in spent.items())
    memory = psutil.Process(desk.api.pid).memory_info().rss / 2**20
    print(f"  CPU ms a request: {each}; API memory {memory:.0f} MB; load average {os.getloadavg()[0]:.1f}")


async def back_to_back(desk: Desk, tally: Tally, clients: int, seconds: float) -> None:
    """Each client asks for work and does it at once, over and over; the first tenth is not counted."""
    warm, end = time.perf_counter() + seconds / 10, time.perf_counter() + seconds

    async def client(key: str) -> None:
        wire, mine = Wire(desk.port, key), Tally()
        while (now := time.perf_counter()) < end and await work(desk, wire, tally if now > warm else mine):
            pass
        tally.errors += mine.errors
        wire.close()

    await asyncio.gather(*(client(key) for key in desk.keys[:clients]))


async def thinking(desk: Desk, tally: Tally, people: int, think: float, seconds: float) -> None:
    """Each person asks for work, thinks for `think` seconds on average, submits; they start spread out."""
    end = time.perf_counter() + max(seconds, 2 * think)
    chance = random.Random(0)

    async def person(key: str) -> None:
        wire = Wire(desk.port, key)
        await asyncio.sleep(chance.random() * think)
        while time.perf_counter() < end:
            if not await work(desk, wire, tally, think * chance.uniform(0.5, 1.5)):
                break
        wire.close()

    await asyncio.gather(*(person(key) for key in desk.keys[:people]))


async def work(desk: Desk, wire: Wire, tally: Tally, think: float = 0) -> bool:
    """One task from claim to submission; False when nothing is left."""
    status, body = await timed(tally, "next", wire, f"/v1/projects/{desk.project}/next", b"")
    if status != 200:
        tally.errors[f"next {status}"] += status != 204
        return False
    task: dict[str, Any] = json.loads(body)
    await asyncio.sleep(think)
    status, body = await timed(tally, "submit", wire, "/v1/submissions", ranking_of(task))
    tally.errors[f"submit {status}"] += status != 201
    return True


async def timed(tally: Tally, kind: str, wire: Wire, path: str, body: bytes) -> tuple[int, bytes]:
    start = time.perf_counter()
    answer = await wire.call("POST", path, body)
    tally.times[kind].append(1000 * (time.perf_counter() - start))
    return answer


def cpu(desk: Desk) -> dict[str, float]:
    """CPU seconds so far of the API, of Postgres and of this process."""
    server = psutil.Process(desk.postgres.pid)
    return {
        "API": _seconds(psutil.Process(desk.api.pid)),
        "Postgres": sum(map(_seconds, [server, *server.children(recursive=True)])),
        "client": time.process_time(),
    }


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0 when there is none."""
    return sorted(values)[max(0, min(len(values) - 1, int(share * len(values))))] if values else 0.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each phase")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--people", type=int, default=500, help="who think; 0 leaves this phase out")
    parser.add_argument("--think", type=float, default=15, help="seconds of thinking time")
    parser.add_argument("--tasks", type=int, default=6000)
    parser.add_argument("--judgements", type=int, default=0, help="that were given before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
