"""Faults of the API and of its clients."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import Job
from tests.journey.faults.ground import Ground, Seen
from tests.support.engine_room import World, poll

CLIENTS = 100


def killed_before(ground: Ground) -> Seen:
    return _killed(ground, "before_commit", left=0)


def killed_after(ground: Ground) -> Seen:
    return _killed(ground, "after_commit", left=1)


def _killed(ground: Ground, moment: str, left: int) -> Seen:
    with ground.world() as world, ground.api(world) as api:
        api.kill()
        api.start(sys.executable, "-m", "tests.journey.faults.dying_api", str(api.port), DIE=moment)
        with api.client() as http:
            try:
                answer = api.create(http, "the same")
                raise AssertionError(f"answered {answer.status_code} in spite of its death")
            except httpx.TransportError:
                assert api.process.wait(20) == -9
        found = jobs(world)
        assert found == left, f"{found} jobs instead of {left}"
        api.start()
        with api.client() as http:
            again, third = api.create(http, "the same"), api.create(http, "the same")
        assert (again.status_code, jobs(world)) == (202, 1), again.text
        assert third.json()["id"] == again.json()["id"]
    done = f"SIGKILL {moment.replace('_commit', '')} the commit of POST /v1/jobs; the same key twice more"
    return Seen(done, f"{left} job after the kill, 1 after the retries, the same id")


def storm(ground: Ground) -> Seen:
    with ground.world() as world, ground.api(world) as api, api.client() as http:
        with ThreadPoolExecutor(CLIENTS) as crowd:
            answers = list(crowd.map(lambda _: api.create(http, "storm"), range(CLIENTS)))
        codes = Counter(answer.status_code for answer in answers)
        ids = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert (len(ids), jobs(world)) == (1, 1), f"{codes}, {len(ids)} ids, {jobs(world)} jobs"
        assert codes.keys() <= {202, 409}, codes
        kinds = {answer.json()["type"] for answer in answers if answer.status_code == 409}
    said = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
    return Seen(f"{CLIENTS} equal requests with one key at once", f"{said}; 1 job", ", ".join(kinds) or "none")


def half_open(ground: Ground) -> Seen:
    """What the streams of clients that left held is free again."""
    with ground.world() as world, ground.api(world) as api:
        with api.client() as http:
            job = api.create(http, "watched").json()["id"]
        process = psutil.Process(api.process.pid)
        before = process.num_fds()
        clients = [api.client() for _ in range(30)]
        for http in clients:
            request = http.build_request("GET", f"/v1/jobs/{job}/events")
            assert http.send(request, stream=True).status_code == 200
        held = process.num_fds() - before
        assert held >= 30
        for http in clients:
            http.close()
        poll(lambda: process.num_fds() <= before + 2, "the streams' sockets to be closed")
        left = process.num_fds() - before
        with api.client() as http:
            assert http.get(f"/v1/jobs/{job}").status_code == 200
    return Seen("30 event streams, left in their middle", f"{held} sockets more while open, {left} more afterwards")


def jobs(world: World) -> int:
    with Session(world.engine) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


ROWS = {
    "API killed before its commit": killed_before,
    "API killed between commit and answer": killed_after,
    "clients that try again all at once": storm,
    "event streams that are left": half_open,
}
