"""How the jobs' side carries a crowd: open event streams while jobs tell, jobs created, jobs claimed.

    python -m tests.benchmarks.bench_jobs [--streams 1000] [--jobs 4] [--rate 4] [--seconds 20] [--no-training]

Everything shares the machine: Postgres, the API (one process, started as `rankloop up` starts it), the clients,
a writer that appends as the launchers of `--jobs` training jobs do, and a process that trains on one thread.
Prints the delay from an event's commit to each client, what was lost or doubled (nothing may be), the API's
share of a core and its memory; then milliseconds of creating a job, and claims a second from a full queue.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.events import StageProgress
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.tables import DatasetKind, Role
from annotation_api.jobs.service import MAX_WAITING
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from tests.benchmarks.bench_desk import cpu, percentile
from tests.journey.desk import HOST, Desk, Wire
from tests.support.factory import Factory

A_PERSON = 40  # streams of one person
CLIENTS = 20  # who create jobs
CLAIMERS = 4
GOALS = {"delay": 1000, "thinking": 50, "back to back": 150, "claims": 500}
NUMBER, TOLD = re.compile(rb"^id: (\d+)$", re.M), re.compile(rb'"told": ([\d.]+)')
TRAINING = """
import torch
torch.set_num_threads(1)
layer = torch.nn.Linear(512, 512)
step = torch.optim.SGD(layer.parameters(), 1e-3)
while True:
    layer(torch.randn(64, 512)).square().mean().backward()
    step.step()
    step.zero_grad()
"""


class Stream(asyncio.Protocol):
    """One client of a job's events, which notes when each came and that none is missing."""

    def __init__(self, job: uuid.UUID, key: str) -> None:
        self.job, self.key = job, key
        self.delays: list[float] = []
        self.last = self.faults = 0
        self.open = False
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()  # its first bytes
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        head = f"GET /v1/jobs/{self.job}/events HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self.key}\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        now, self.open = time.time(), True
        if not self.answered.done():
            self.answered.set_result(data)
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for number in NUMBER.findall(whole):
            self.faults += int(number) != self.last + 1
            self.last = int(number)
        self.delays += [1000 * (now - float(told)) for told in TOLD.findall(whole)]

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if not self.answered.done():
            self.answered.set_exception(error or ConnectionError("closed without an answer"))


def main() -> None:
    options = _options()
    with Desk(tasks=1, people=1) as desk, training(options.training):
        engine = make_engine(desk.postgres.url)
        sessions = session_factory(engine)
        keys = _engineers(sessions, max(CLIENTS, -(-options.streams // A_PERSON)))
        uvloop.run(streams(desk, sessions, keys, options))
        uvloop.run(creating(desk, sessions, keys))
        claiming(desk, sessions)
        if said := [line for line in desk.log().splitlines() if '"INFO"' not in line]:
            print("the API's log:", *said[-10:], sep="\n")
        engine.dispose()


@contextmanager
def training(wanted: bool) -> Iterator[None]:
    """A process that trains beside everything else."""
    process = subprocess.Popen([sys.executable, "-c", TRAINING]) if wanted else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def _engineers(sessions: sessionmaker[Session], count: int) -> list[str]:
    with sessions.begin() as session:
        make = Factory(session)
        return [people.add_api_key(session, make.person(Role.ENGINEER), NewApiKey(name="b"))[1] for _ in range(count)]


# ---------------------------------------------------------------- streams


async def streams(desk: Desk, sessions: sessionmaker[Session], keys: list[str], options: argparse.Namespace) -> None:
    """Open them all, let the jobs tell for a while, and see what came."""
    jobs = [_running(sessions) for _ in range(options.jobs)]
    start = time.perf_counter()
    asked = ((jobs[number % len(jobs)][0], keys[number // A_PERSON]) for number in range(options.streams))
    crowd = await asyncio.gather(*(_opened(desk, job, key) for job, key in asked))
    while not all(one.last >= 3 for one in crowd):  # queued, starting, running
        await asyncio.sleep(0.05)
    print(f"{len(crowd)} streams of {options.jobs} jobs opened in {time.perf_counter() - start:.1f} s")
    before, start = cpu(desk), time.perf_counter()
    told = await asyncio.to_thread(_tell, sessions, jobs, options)
    await asyncio.sleep(2)
    _report(desk, crowd, told, before, time.perf_counter() - start)
    for one in crowd:
        one.transport.close()


async def _opened(desk: Desk, job: uuid.UUID, key: str) -> Stream:
    """A client's stream; one that is told 503 asks again a second later, as the answer says."""
    loop = asyncio.get_running_loop()
    while True:
        one = Stream(job, key)
        await loop.create_connection(lambda one=one: one, HOST, desk.port)
        if not (await one.answered).startswith(b"HTTP/1.1 503"):
            return one
        one.transport.close()
        await asyncio.sleep(1)


def _running(sessions: sessionmaker[Session]) -> tuple[uuid.UUID, int]:
    with sessions.begin() as session:
        Factory(session).job()
        job = job_store.claim(session, "bench:1", 3600)
        assert job is not None
        job_store.mark_running(session, job.id, job.epoch)
        return job.id, job.epoch


def _tell(sessions: sessionmaker[Session], jobs: list[tuple[uuid.UUID, int]], options: argparse.Namespace) -> int:
    """Append to each job `rate` times a second, a step each time, as launchers do; the number of each job's events."""
    end, step = time.perf_counter() + options.seconds, 0
    while time.perf_counter() < end:
        step += 1
        for job, epoch in jobs:
            metrics = {"loss": 1 / step, "kl": 0.1, "reward": 0.2, "entropy": 2.0, "lr": 1e-5}
            with sessions.begin() as session:
                line = Event.progress(StageProgress("train", step, 10_000, 4.0, 60.0, metrics), told=time.time())
                job_store.append_events(session, job, epoch, [line])
        time.sleep(max(0, step / options.rate - (options.seconds - (end - time.perf_counter()))))
    return step


def _report(desk: Desk, crowd: Sequence[Stream], told: int, before: dict[str, float], wall: float) -> None:
    delays = [delay for one in crowd for delay in one.delays]
    p50, p95, p99 = (percentile(delays, share) for share in (0.5, 0.95, 0.99))
    missing = sum(told - len(one.delays) for one in crowd)
    shut, faults = sum(not one.open for one in crowd), sum(one.faults for one in crowd)
    spent = {who: (seconds - before[who]) / wall for who, seconds in cpu(desk).items()}
    memory = psutil.Process(desk.api.pid).memory_info().rss / 2**20
    print(f"{len(delays)} events in {wall:.0f} s, {len(delays) / wall:.0f}/s; load average {os.getloadavg()[0]:.1f}")
    print(f"  delay p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f}  most {max(delays):.0f} ms (goal {GOALS['delay']})")
    print(f"  missing {missing}, out of order or doubled {faults}, streams shut {shut}")
    print(f"  cores: {', '.join(f'{who} {share:.2f}' for who, share in spent.items())}; API memory {memory:.0f} MB")


# ---------------------------------------------------------------- creating and claiming


async def creating(desk: Desk, sessions: sessionmaker[Session], keys: list[str]) -> None:
    """CLIENTS people create jobs, first with a second between two, then back to back, until the queue is full."""
    body, each = _body(desk, sessions), MAX_WAITING // CLIENTS // 5
    for name, think, count in (("thinking", 1.0, 2 * each), ("back to back", 0.0, 3 * each)):
        times, refused, before = list[float](), list[int](), cpu(desk)
        await asyncio.gather(*(_create(desk, key, body, think, count, times, refused) for key in keys[:CLIENTS]))
        p50, p95, p99 = (percentile(times, share) for share in (0.5, 0.95, 0.99))
        print(f"creating, {CLIENTS} clients {name}: {len(times)} jobs, refused {refused}")
        print(f"  p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f} ms (goal {GOALS[name]})")
        print(f"  {_each(desk, before, len(times))}")


async def _create(
    desk: Desk, key: str, body: bytes, think: float, count: int, times: list[float], refused: list[int]
) -> None:
    wire, chance = Wire(desk.port, key), random.Random(key)
    for _ in range(count):
        await asyncio.sleep(think * 2 * chance.random())
        start = time.perf_counter()
        status, _answer = await wire.call("POST", "/v1/jobs", body)
        times.append(1000 * (time.perf_counter() - start))
        refused += [status] if status != 202 else []
    wire.close()


def _each(desk: Desk, before: dict[str, float], count: int) -> str:
    """CPU time of one of `count` deeds: what holds also on a busy machine."""
    spent = {who: 1000 * (seconds - before[who]) / count for who, seconds in cpu(desk).items()}
    return f"CPU ms each: {', '.join(f'{who} {ms:.2f}' for who, ms in spent.items())}"


def _body(desk: Desk, sessions: sessionmaker[Session]) -> bytes:
    folder = Path(desk.home) / "tiny"
    folder.mkdir()
    with sessions.begin() as session:
        make = Factory(session)
        rows = [Demonstration(prompt=Prompt.from_text(f"Q{n}?"), response="a") for n in range(100)]
        model, data = make.model(path=str(folder)), make.dataset(DatasetKind.DEMONSTRATIONS, rows)
    inputs = {"model": {"model": str(model.id)}, "demonstrations": {"dataset": str(data.id)}}
    return json.dumps({"stage": "sft", "inputs": inputs}).encode()


def claiming(desk: Desk, sessions: sessionmaker[Session]) -> None:
    """CLAIMERS dispatchers empty the queue."""
    claimed: list[uuid.UUID] = []

    def work(name: str) -> None:
        while True:
            with sessions.begin() as session:
                job = job_store.claim(session, name, 3600)
            if job is None:
                return
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"bench:{n}",)) for n in range(CLAIMERS)]
    before, start = cpu(desk), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(claimed) / (time.perf_counter() - start)
    print(f"claiming, {CLAIMERS} dispatchers, {len(claimed)} jobs queued")
    print(f"  {rate:.0f} a second (goal {GOALS['claims']}); {_each(desk, before, len(claimed))}")
    assert len(set(claimed)) == len(claimed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=4, help="that are watched")
    parser.add_argument("--rate", type=float, default=4, help="events of each job a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--no-training", dest="training", action="store_false", help="let nothing train beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
