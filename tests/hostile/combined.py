"""The combined attack beside 50 people who rank and a backup; what they notice of it, as a table.

    python -m tests.hostile.combined [--seconds 30] [--think 0] [--every 10]

The same people work first alone, then beside the attack, for the same time on the same desk, each on a connection that
is kept. With `--think`, each thinks for so many seconds between claim and submission, on average; without it they work
back to back. A newcomer connects anew for each question, and so waits in line behind the strangers. Everything shares
the machine: the table says whose the CPU was. Exits 1 when an acknowledged answer is lost, a sign-in of the
known device fails, memory or disk pass their bounds, or p99 is more than 3 times that without the attack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import uvloop
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine
from annotation_api.db.tables import Role
from annotation_api.http import auth
from annotation_api.http.entry.uploads import MAX_UPLOAD_BYTES, MOST
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.benchmarks.bench_desk import cpu, percentile
from tests.hostile.attackers import Plan
from tests.hostile.kill_desk import LOST
from tests.journey.desk import HOST, Desk, Wire, ranking_of
from tests.support.factory import Factory

PASSWORD = "four plain words here"
AGAIN_SECONDS = 1.0  # after a refusal, as Retry-After says
LOOK_SECONDS = 0.25
SIGN_IN_SECONDS = 3.0
MOST_SLOWER = 3.0
MOST_MEMORY = 1 << 30  # of the API; the compose file gives it 2 GB
MOST_DISK = MOST * MAX_UPLOAD_BYTES


@dataclass
class Phase:
    """What people saw of the service in one phase, and what it took."""

    times: dict[str, list[float]] = field(default_factory=lambda: {"next": [], "submit": []})  # milliseconds
    refused: Counter[str] = field(default_factory=Counter)
    acknowledged: list[uuid.UUID] = field(default_factory=list)
    sign_ins: list[tuple[int, float]] = field(default_factory=list)  # status and milliseconds
    newcomers: list[float] = field(default_factory=list)  # milliseconds until who connects anew has an answer
    memory: int = 0  # bytes of the API, at most
    disk: int = 0  # bytes of its files without a name, at most
    cpu: dict[str, float] = field(default_factory=dict)  # share of the machine
    load: float = 0.0
    seconds: float = 0.0


@dataclass
class Cast:
    """Who takes part beside those who rank."""

    annotator: str  # keys of attackers
    engineers: list[str]
    email: str  # of who has a known device


def main() -> int:
    options = _options()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Desk(tasks=options.tasks, people=options.people, overlap=3) as desk:
        cast = _cast(desk, options.ballast)
        device = httpx.Client(base_url=f"http://{HOST}:{desk.port}", timeout=30)
        quiet, attacked, attack = uvloop.run(_phases(desk, cast, device, options))
        lost = _lost(desk, quiet.acknowledged + attacked.acknowledged)
    return _report(quiet, attacked, attack, lost)


async def _phases(desk: Desk, cast: Cast, device: httpx.Client, options: Any) -> tuple[Phase, Phase, _Attack]:
    """Both, by the same people: who worked before the attack has a connection when it begins."""
    wires = [Wire(desk.port, key) for key in desk.keys]
    quiet = await _phase(desk, cast, device, wires, options)
    with _Attack(desk, cast, options) as attack:
        attacked = await _phase(desk, cast, device, wires, options, attack)
    for wire in wires:
        wire.close()
    return quiet, attacked, attack


def _cast(desk: Desk, ballast: int) -> Cast:
    """And a model of so many MiB for the backup to copy."""
    folder = Path(desk.home) / "models" / "ballast"
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        for _ in range(ballast):
            file.write(os.urandom(2**20))
    engine = make_engine(desk.postgres.url)
    with Session(engine) as session:
        make = Factory(session)
        make.model(path=str(folder))
        roles = (Role.ANNOTATOR, Role.ENGINEER, Role.ENGINEER)
        first, *others = [people.add_api_key(session, make.person(role), NewApiKey(name="a"))[1] for role in roles]
        email = make.person(Role.ANNOTATOR, password_hash=auth.hash_password(PASSWORD)).email
        session.commit()
    engine.dispose()
    return Cast(first, others, email)


# ---------------------------------------------------------------- the attack


class _Attack:
    """The generator and a backup, each a process of its own; `told` is what the attackers were answered."""

    def __init__(self, desk: Desk, cast: Cast, options: argparse.Namespace) -> None:
        self.desk, self.seconds, self.told = desk, options.seconds, dict[str, Any]()
        sizes = {name: getattr(options, name) for name in ("half_bodies", "half_requests", "bombs", "uploads", "every")}
        self.plan = Plan(
            port=desk.port, seconds=options.seconds, upload_bytes=MAX_UPLOAD_BYTES, **asdict(cast), **sizes
        )
        self.backup_seconds: float | None = None

    def __enter__(self) -> _Attack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.generator = subprocess.Popen([sys.executable, "-m", "tests.hostile.attackers"], **pipes)  # type: ignore[call-overload]
        self.generator.stdin.write(json.dumps(asdict(self.plan)).encode())
        self.generator.stdin.close()
        assert self.generator.stdout.readline(), "the attackers did not begin"
        settings = Settings(database_url=self.desk.postgres.url, home=self.desk.home)
        backup = [sys.executable, "-m", "annotation_api.cli", "backup", str(Path(self.desk.home) / "backup.tar")]
        self.began = time.monotonic()
        self.backup = subprocess.Popen(backup, env=settings.to_environment(os.environ), stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self.told = json.load(self.generator.stdout)
        self.generator.wait()
        self.backup_code = self.backup.wait()

    def look(self) -> dict[str, float]:
        """CPU seconds of both, while they live."""
        if self.backup_seconds is None and self.backup.poll() is not None:
            self.backup_seconds = time.monotonic() - self.began
        found = {"attackers": _cpu(self.generator.pid), "backup": _cpu(self.backup.pid)}
        return {who: seconds for who, seconds in found.items() if seconds}


def _cpu(pid: int) -> float:
    """Of a process and its children; 0 of one that has ended."""
    try:
        process = psutil.Process(pid)
        all_of_it = [process, *process.children(recursive=True)]
        return sum(times.user + times.system for times in (one.cpu_times() for one in all_of_it))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0.0


# ---------------------------------------------------------------- people


async def _phase(desk: Desk, cast: Cast, device: httpx.Client, wires: list[Wire], options: argparse.Namespace,
                 attack: _Attack | None = None) -> Phase:  # fmt: skip
    phase, before, began = Phase(), cpu(desk), time.monotonic()
    end = began + options.seconds
    watching = asyncio.ensure_future(_watch(desk, phase, attack))
    work: list[Awaitable[None]] = [_annotator(desk, wire, phase, end, options.think) for wire in wires]
    await asyncio.gather(*work, _newcomer(desk, phase, end), _sign_ins(device, cast.email, phase, end))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    phase.seconds = time.monotonic() - began
    wall = phase.seconds * (os.cpu_count() or 1)
    phase.cpu |= {who: seconds - before[who] for who, seconds in cpu(desk).items()}
    phase.cpu = {who: seconds / wall for who, seconds in phase.cpu.items()}
    phase.load = os.getloadavg()[0]
    return phase


async def _annotator(desk: Desk, wire: Wire, phase: Phase, end: float, think: float) -> None:
    chance = random.Random(wire.head)
    await asyncio.sleep(think * chance.random())
    while time.monotonic() < end:
        task = await _call(phase, wire, "next", f"/v1/projects/{desk.project}/next", b"", 200)
        if task is None:
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        await asyncio.sleep(think * chance.uniform(0.5, 1.5))
        submission = uuid.uuid4()
        while await _call(phase, wire, "submit", "/v1/submissions", ranking_of(task, str(submission)), 201) is None:
            await asyncio.sleep(AGAIN_SECONDS)
        phase.acknowledged.append(submission)


async def _call(phase: Phase, wire: Wire, kind: str, path: str, body: bytes, right: int) -> dict[str, Any] | None:
    """The answer; None for a refusal, which is counted."""
    began = time.perf_counter()
    try:
        status, answer = await wire.call("POST", path, body)
    except (OSError, EOFError) as error:
        wire.close()
        phase.refused[f"{kind} {type(error).__name__}"] += 1
        return None
    phase.times[kind].append(1000 * (time.perf_counter() - began))
    if status != right:
        phase.refused[f"{kind} {status}"] += 1
        return None
    found: dict[str, Any] = json.loads(answer)
    return found


async def _newcomer(desk: Desk, phase: Phase, end: float) -> None:
    while time.monotonic() < end:
        wire, began = Wire(desk.port, ""), time.perf_counter()
        try:
            await wire.call("GET", "/healthz")
            phase.newcomers.append(1000 * (time.perf_counter() - began))
        except (OSError, EOFError) as error:
            phase.refused[f"newcomer {type(error).__name__}"] += 1
        wire.close()
        await asyncio.sleep(LOOK_SECONDS)


async def _sign_ins(device: httpx.Client, email: str, phase: Phase, end: float) -> None:
    """Of somebody in whose browser they signed in before: from the second time on the service knows the device."""
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            answer = await asyncio.to_thread(device.post, "/v1/session", json={"email": email, "password": PASSWORD})
            status = answer.status_code
        except httpx.TransportError:
            status = 0
        phase.sign_ins.append((status, 1000 * (time.perf_counter() - began)))
        await asyncio.sleep(SIGN_IN_SECONDS)


async def _watch(desk: Desk, phase: Phase, attack: _Attack | None) -> None:
    api = psutil.Process(desk.api.pid)
    while True:
        phase.memory = max(phase.memory, api.memory_info().rss)
        phase.disk = max(phase.disk, _nameless(api.pid))
        phase.cpu |= attack.look() if attack else {}
        await asyncio.sleep(LOOK_SECONDS)


def _nameless(pid: int) -> int:
    """Bytes on the disk of files that only this process has: uploads on their way."""
    total = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(entry).endswith("(deleted)"):
                total += entry.stat().st_blocks * 512
        except FileNotFoundError:  # closed meanwhile
            continue
    return total


def _lost(desk: Desk, acknowledged: list[uuid.UUID]) -> int:
    with psycopg.connect(desk.postgres.url) as connection:
        row = connection.execute(LOST, [acknowledged]).fetchone()
    return int(row[0]) if row else -1


# ---------------------------------------------------------------- the table


def _report(quiet: Phase, attacked: Phase, attack: _Attack, lost: int) -> int:
    slower = {}
    print("| | alone | attacked | times |\n|---|---|---|---|")
    for kind in quiet.times:
        for share in (0.5, 0.99):
            before, after = (percentile(phase.times[kind], share) for phase in (quiet, attacked))
            name = f"{kind} p{share * 100:.0f}"
            slower[name] = after / before if before else 0.0
            print(f"| {name}, ms | {before:.0f} | {after:.0f} | {slower[name]:.2f} |")
    for what, tell in _LINES.items():
        print(f"| {what} | {tell(quiet)} | {tell(attacked)} | |")
    for who in attacked.cpu:
        print(f"| share of the CPU: {who} | {quiet.cpu.get(who, 0):.0%} | {attacked.cpu[who]:.0%} | |")
    print(f"backup: code {attack.backup_code}, {attack.backup_seconds or attack.seconds:.0f} s")
    print(f"attackers sent {attack.told['sent'] / 2**30:.1f} GiB of files and were told {attack.told['answers']}")
    print(f"acknowledged {len(quiet.acknowledged) + len(attacked.acknowledged)}, lost {lost}")
    wrong = [name for name, times in slower.items() if name.endswith("p99") and times > MOST_SLOWER]
    wrong += ["lost"] if lost else []
    wrong += ["sign-in"] if any(status != 204 for status, _ in attacked.sign_ins) else []
    wrong += ["memory"] if attacked.memory > MOST_MEMORY else []
    wrong += ["disk"] if attacked.disk > MOST_DISK else []
    wrong += ["backup"] if attack.backup_code else []
    print(f"not as it must be: {', '.join(wrong)}" if wrong else "all as it must be")
    return int(bool(wrong))


_LINES = {
    "answers a second": lambda phase: f"{sum(map(len, phase.times.values())) / max(1.0, phase.seconds):.0f}",
    "a newcomer's first answer, ms": lambda phase: (
        f"p50 {percentile(phase.newcomers, 0.5):.0f}, slowest {max(phase.newcomers, default=0):.0f}"
    ),
    "refused": lambda phase: dict(phase.refused) or 0,
    "sign-ins of a known device": lambda phase: (
        f"{sum(status == 204 for status, _ in phase.sign_ins)} of {len(phase.sign_ins)}, "
        f"slowest {max(ms for _, ms in phase.sign_ins):.0f} ms"
    ),
    f"the API's memory at most, MiB (bound {MOST_MEMORY >> 20})": lambda phase: phase.memory >> 20,
    f"uploads on the disk at most, MiB (bound {MOST_DISK >> 20})": lambda phase: phase.disk >> 20,
    "load average": lambda phase: f"{phase.load:.1f}",
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of each phase")
    parser.add_argument("--think", type=float, default=0, help="seconds between claim and submission, on average")
    parser.add_argument("--every", type=float, default=10, help="seconds between volleys of half requests and bombs")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=6000)
    parser.add_argument("--half-bodies", type=int, default=200)
    parser.add_argument("--half-requests", type=int, default=6000)
    parser.add_argument("--bombs", type=int, default=8)
    parser.add_argument("--uploads", type=int, default=3, help="of 2 GiB")
    parser.add_argument("--ballast", type=int, default=1024, help="MiB that the backup copies beside the database")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
