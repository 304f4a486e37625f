"""Faults of Postgres."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

from sqlalchemy import text

from tests.journey.faults.api import jobs
from tests.journey.faults.ground import Ground, NotHere, Seen, succeeded
from tests.support.engine_room import poll

DOWN_SECONDS = 5.0


def killed(ground: Ground) -> Seen:
    """Under load: a job trains, a client reads and creates all the while."""
    with ground.world() as world, ground.api(world) as api, api.client() as http:
        job = world.job({"steps": 200, "seconds": 0.1, "save_every": 20})
        world.dispatcher()
        world.running(job)
        ground.kill_postgres()
        down, seen, kinds, slowest = time.monotonic(), Counter[int](), set[str](), 0.0
        while time.monotonic() < down + DOWN_SECONDS:
            began = time.monotonic()
            answer = http.get(f"/v1/jobs/{job}")
            slowest = max(slowest, time.monotonic() - began)
            seen[answer.status_code] += 1
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"]
            kinds.add(answer.json()["type"])
        ground.server.start()
        began = time.monotonic()
        poll(lambda: http.get(f"/v1/jobs/{job}").status_code == 200, "the API to recover")
        back = time.monotonic() - began
        assert back < 10, back
        said = succeeded(world, job)
        assert world.read(job).epoch == 1
        assert len(world.metrics(job)) == 200
    told = f"{seen[503]} x 503 with Retry-After (slowest {slowest:.2f} s), reads again after {back:.1f} s; the job"
    done = f"SIGKILL of Postgres, {DOWN_SECONDS:.0f} s without it, a job training"
    return Seen(done, f"{told} trained on: {said}, no step lost", ", ".join(kinds))


def stays_away(ground: Ground) -> Seen:
    with ground.world(RANKLOOP_DATABASE_GRACE_SECONDS="2") as world:
        job = world.job({"steps": 600, "seconds": 0.1, "save_every": 1000})
        world.dispatcher()
        world.running(job)
        with world.closed_database():
            poll(
                lambda: "The job is left to its dispatcher." in world.report(), "the launcher to give up", world.report
            )
            world.hurry()
        said, (begin,) = succeeded(world, job), world.begins(job)
        kind = world.attempts(job)[0].error["kind"]
    return Seen("Postgres away for longer than the grace (2 s)", f"saved at step {begin}; {said} went on from it", kind)


def read_only(ground: Ground) -> Seen:
    with ground.world() as world, ground.api(world) as api, api.client() as http:
        name = world.engine.url.database
        with world.engine.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
            connection.commit()
        world.throw_out()
        refused, read = api.create(http, "one"), http.get("/v1/jobs")
        assert (refused.status_code, read.status_code, jobs(world)) == (503, 200, 0), refused.text
        kind = refused.json()["type"]
        with world.engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'))
            connection.commit()
        world.throw_out()
        poll(lambda: api.create(http, "one").status_code == 202, "jobs to be taken again")
        assert jobs(world) == 1
    return Seen("the database set to read-only", "create 503, list 200, nothing half-written; later 202, one job", kind)


def full(ground: Ground) -> Seen:
    run = subprocess.run([sys.executable, "-m", "tests.journey.full_disk"], capture_output=True, text=True)
    if "must be superuser" in run.stderr or "permission denied" in run.stderr:
        raise NotHere("mounting a small disk needs root")
    assert run.returncode == 0, run.stdout + run.stderr[-500:]
    return Seen("Postgres on a tmpfs of 200 MB, which fills up", "; ".join(run.stdout.splitlines()), "database-full")


ROWS = {
    "Postgres killed under load": killed,
    "Postgres away beyond the grace": stays_away,
    "Postgres read-only": read_only,
    "Postgres's disk full": full,
}
