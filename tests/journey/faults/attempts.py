"""Faults of attempts: their launchers, their stages, what they save and how they end."""

from __future__ import annotations

import random
import shutil
import time
import uuid
from pathlib import Path

from alignment.shared import artifact
from alignment.shared.config import Stage
from alignment.shared.errors import StageError
from annotation_api.db.tables import JobState
from tests.journey.faults.ground import SLOW, Ground, Seen, errors, seconds, succeeded
from tests.journey.rig import COMMON, PROMPTS, record_of
from tests.support.alignment import tiny
from tests.support.alignment.kills import RecordingReporter, Run
from tests.support.engine_room import poll
from workers.crashpoints import POINTS
from workers.stage.faults import kind_of

RACES = 12
CUTS = 20


def launcher_killed(ground: Ground) -> Seen:
    with ground.world() as world:
        job = world.job(SLOW)
        world.dispatcher()
        launcher = world.launcher(world.running(job))
        poll(lambda: world.checkpoints(job), "a checkpoint", world.report)
        actor = world.actor(job)
        world.hurry()
        launcher.kill()
        gone = seconds(lambda: not actor.is_running(), "the stage to end")
        back = seconds(lambda: world.read(job).epoch == 2 and world.read(job).state is JobState.RUNNING, "a new run")
        said, kind = succeeded(world, job), errors(world, job)
        (begin,) = world.begins(job)
    seen = f"its stage gone after {gone}, running again {back} later from step {begin}; {said} succeeded"
    return Seen("SIGKILL of the launcher", seen, kind)


def stage_killed(ground: Ground) -> Seen:
    with ground.world() as world:
        job = world.job(SLOW)
        world.dispatcher()
        world.running(job)
        poll(lambda: world.checkpoints(job), "a checkpoint", world.report)
        world.hurry()
        world.actor(job).kill()
        said = succeeded(world, job)
        (begin,) = world.begins(job)
        kind = errors(world, job)
    return Seen("SIGKILL of the process of the stage", f"{said} succeeded, from step {begin}", kind)


def killed_at_each_step(ground: Ground) -> Seen:
    points = POINTS[POINTS.index("after_inputs") :]
    with ground.world() as world:
        jobs = [world.job({"steps": 4, "save_every": 2}, max_attempts=20) for _ in points]
        launchers = [world.claimed_launcher(RANKLOOP_CRASH_POINT=point) for point in points]
        assert [launcher.wait(120) for launcher in launchers] == [-9] * len(points), world.report()
        for launcher in launchers:
            world.expire(uuid.UUID(launcher.args[-2]))
        world.dispatcher(RANKLOOP_SLOTS="2")
        said = succeeded(world, *jobs)
        poll(lambda: len(list(world.home.glob("artifacts/*/*"))) == len(jobs), "strays to be swept", world.report)
        kinds = {kind for job in jobs for kind in errors(world, job).split(", ")} - {"none"}
    return Seen(f"SIGKILL {', '.join(points)}", f"{said}; no stray folder", ", ".join(kinds))


def poison(ground: Ground) -> Seen:
    with ground.world() as world:
        bad, good = world.job({"steps": 3, "fault": "killed"}, max_attempts=3), world.job({"steps": 3})
        world.dispatcher()
        succeeded(world, good)
        row = world.wait(bad, JobState.FAILED)
        kind = row.error["kind"]
        assert (kind, row.attempts) == ("quarantined", 3), row.error
        taken = (row.finished_at - row.created_at).total_seconds()
    return Seen(
        "a job whose stage kills its process each time",
        f"failed after 3 attempts, {taken:.0f} s; the next job ran",
        kind,
    )


def cancelled_at_the_end(ground: Ground) -> Seen:
    """Cancels come at random moments about the end: one state, and an artifact if and only if it succeeded."""
    chance, ends = random.Random(0), dict[str, int]()
    with ground.world() as world:
        world.dispatcher(RANKLOOP_SLOTS="2")
        for _ in range(RACES):
            job = world.job({"steps": 40, "seconds": 0.1})
            world.running(job)
            time.sleep(chance.uniform(1.0, 4.2))
            world.cancel(job)
            row = world.wait(job, JobState.SUCCEEDED, JobState.CANCELLED)
            ends[row.state.value] = ends.get(row.state.value, 0) + 1
            whole = len(world.versions(job)) == 1 and artifact.verify(world.home / "artifacts" / str(job) / "1")
            assert bool(whole) is (row.state is JobState.SUCCEEDED), "the artifact does not agree with the state"
            states = [event["state"] for event in world.events(job, "state")]
            assert sum(state in ("succeeded", "cancelled", "failed") for state in states) == 1, states
    said = ", ".join(f"{count} {state}" for state, count in ends.items())
    return Seen(
        f"{RACES} cancels at random moments about the end", f"{said}; one end each, artifacts agree", "cancelled"
    )


def damaged(ground: Ground) -> Seen:
    """Each file of a real checkpoint flipped, and cut at random places: the one before it is gone on from."""
    home = ground.folder / "damaged"
    base = tiny.save(tiny.causal(), home / "base")
    (home / "rows.jsonl").write_text(
        "".join(f"{record_of('demonstrations', n, t).canonical()}\n" for n, t in enumerate(PROMPTS))
    )
    run = Run(Stage.SFT, COMMON, {"model": base, "demonstrations": home / "rows.jsonl", "checkpoints": home / "saved"})
    alone = run.into(home / "alone", RecordingReporter())
    whole = sorted((home / "saved").glob("*/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    older, newest = whole[-2:]
    files, chance, kinds = [path for path in sorted(newest.rglob("*")) if path.is_file()], random.Random(0), set[str]()
    flipped = [_spoil(newest, path, chance.randrange(path.stat().st_size), kinds, cut=False) for path in files]
    for _ in range(CUTS):
        path = chance.choice(files)
        _spoil(newest, path, chance.randrange(path.stat().st_size), kinds, cut=True)
    path = newest / "manifest.json"
    path.write_bytes(path.read_bytes()[:-9])
    recording = RecordingReporter()
    again = run.into(home / "again", recording)
    passed = [note for note in recording.notes if "damaged checkpoint was passed over" in note]
    assert passed
    assert any(f"Going on from {older.name}" in note for note in recording.notes), recording.notes
    assert again == alone, "other weights than the run left alone"
    done = f"SFT's newest checkpoint: {len(flipped)} files flipped, {CUTS} cuts, then resumed with a cut manifest"
    shutil.rmtree(home)
    return Seen(done, f"each one found; went on from {older.name} and said so; bit-equal result", ", ".join(kinds))


def _spoil(folder: Path, path: Path, at: int, kinds: set[str], *, cut: bool) -> None:
    """Damage one file, see that it is found, and mend it."""
    good = path.read_bytes()
    path.write_bytes(good[:at] if cut else good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    try:
        artifact.verify(folder)
    except StageError as error:
        kinds.add(kind_of(error).value)
    else:
        raise AssertionError(f"{path.name} was damaged at {at}, and nobody noticed")
    finally:
        path.write_bytes(good)


ROWS = {
    "launcher killed": launcher_killed,
    "stage killed": stage_killed,
    "killed at each step of an attempt and of its commit": killed_at_each_step,
    "poison job": poison,
    "cancel while it ends": cancelled_at_the_end,
    "checkpoint damaged": damaged,
}
