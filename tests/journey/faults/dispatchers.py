"""Faults of dispatchers, and of the clocks that they look at."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from alembic import command

from annotation_api.db.migrate import alembic_config, upgrade
from annotation_api.db.tables import AttemptOutcome, JobState
from tests.journey.faults.ground import SLOW, Ground, NotHere, Seen, errors, succeeded
from tests.support.engine_room import World, poll
from workers.crashpoints import POINTS

LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
MANY, TEN = 1000, 10


def killed_on_the_way(ground: Ground) -> Seen:
    """At each crash point of the dispatcher."""
    points = POINTS[: POINTS.index("after_inputs")]
    with ground.world() as world:
        running = world.job({"steps": 100, "seconds": 0.1}, priority=1)
        world.dispatcher(RANKLOOP_SLOTS="2")
        launcher = world.launcher(world.running(running))
        world.processes[-1].kill()
        jobs = [world.job({"steps": 3}) for _ in points]
        for point in points:
            assert world.dispatcher(RANKLOOP_CRASH_POINT=point, RANKLOOP_SLOTS="2").wait(60) == -9, world.report()
        began = time.monotonic()
        world.dispatcher(RANKLOOP_SLOTS="2")
        assert launcher.is_running()
        said, taken = succeeded(world, *jobs), time.monotonic() - began
        assert (world.wait(running).state, world.read(running).epoch) == (JobState.SUCCEEDED, 1)
    return Seen(f"SIGKILL {', '.join(points)}", f"{said}, {taken:.0f} s; a job that ran beside it went on")


def ten(ground: Ground) -> Seen:
    with ground.world() as world:
        jobs = world.jobs(MANY)
        began = time.monotonic()
        for _ in range(TEN):
            world.start("-m", "tests.journey.chaos_dispatcher", RANKLOOP_SLOTS="4")
        poll(lambda: world.ended() == MANY, f"{MANY} jobs to end", world.report, 900)
        taken = time.monotonic() - began
        said = succeeded(world, *jobs)
    return Seen(f"{TEN} dispatchers of 4 slots on one machine, {MANY} jobs", f"{said}, {taken:.0f} s")


def skewed(ground: Ground) -> Seen:
    """Leases hang on the database's clock alone."""
    if LIBFAKETIME is None:
        raise NotHere("there is no libfaketime (Debian: faketime)")
    with ground.world(LD_PRELOAD=str(LIBFAKETIME), DONT_FAKE_MONOTONIC="1") as world:
        jobs = world.jobs(4, {"steps": 200, "seconds": 0.1, "save_every": 5})
        for offset, slots in (("+1d", 2), ("-1d", 4)):  # slots of the machine
            world.dispatcher(FAKETIME=offset, RANKLOOP_SLOTS=str(slots))
            poll(lambda slots=slots: len(running(world, jobs)) == slots, f"{slots} to run", world.report)
        victim = running(world, jobs)[0]
        world.launcher(world.read(victim)).kill()
        succeeded(world, *jobs)
        epochs = {job: world.read(job).epoch for job in jobs}
        assert epochs == {job: 1 + (job == victim) for job in jobs}, epochs
        kind = errors(world, victim)
    done = "dispatchers and launchers a day ahead and a day behind; one launcher killed"
    return Seen(done, "3 jobs in one attempt, the victim in two", kind)


def running(world: World, jobs: list[uuid.UUID]) -> list[uuid.UUID]:
    return [job for job in jobs if world.read(job).state is JobState.RUNNING and world.read(job).progress]


def upgraded(ground: Ground) -> Seen:
    """The schema is taken back and brought up again while a launcher writes."""
    with ground.world() as world:
        job = world.job({"steps": 100, "seconds": 0.1, "save_every": 10})
        dispatcher = world.dispatcher()
        world.running(job)
        with world.engine.begin() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.downgrade(config, "-1")
        step = world.read(job).progress["step"]
        upgrade(world.url)
        poll(lambda: world.read(job).progress["step"] > step + 5, "the job to go on", world.report)
        dispatcher.terminate()  # as an upgrade of the service does: stop, migrate, start
        assert dispatcher.wait(30) == 0
        assert world.read(job).state is JobState.QUEUED
        upgrade(world.url)
        world.hurry()
        world.dispatcher()
        said = succeeded(world, job)
        (begin,) = world.begins(job)
        outcomes = [attempt.outcome for attempt in world.attempts(job)]
    assert outcomes == [AttemptOutcome.QUEUED, AttemptOutcome.SUCCEEDED], outcomes
    done = "the last migration down and up while a job trains; then the service stopped, migrated, started"
    return Seen(done, f"it trained on; {said} went on from step {begin}")


def zombie(ground: Ground) -> Seen:
    with ground.world() as world:
        job = world.job(SLOW)
        dispatcher = world.dispatcher()
        row = world.running(job)
        launcher, actor = world.launcher(row), world.actor(job)
        dispatcher.kill()
        launcher.suspend()
        world.expire(job)
        world.hurry()
        world.dispatcher(RANKLOOP_SLOTS="2")
        assert world.wait(job).epoch == 2
        before = world.counts(job)
        launcher.resume()
        poll(lambda: not launcher.is_running() and not actor.is_running(), "the zombie to end", world.report)
        assert world.counts(job) == before
        said, kind = succeeded(world, job), errors(world, job)
    return Seen(
        "launcher stopped (SIGSTOP) beyond its lease, its job done by another, then continued",
        f"{said} gave the artifact; the zombie wrote 0 rows and ended",
        kind,
    )


ROWS = {
    "dispatcher killed at each of its points": killed_on_the_way,
    "ten dispatchers at once": ten,
    "clocks a day off": skewed,
    "upgrade while a job trains": upgraded,
    "zombie": zombie,
}
