"""Jobs under fire: dispatchers and launchers killed with SIGKILL at named lines of the code, and Postgres with them.

    python -m tests.journey.job_chaos [--jobs 2000] [--dispatchers 4] [--kills 300] [--postgres 10]

The stage is a stub that saves checkpoints and leaves a file which says whose it is; all around it is the real thing:
a Postgres that waits for its disk, dispatchers, launchers, staging, manifests, the fenced commit. Processes kill
themselves at crash points (`workers/crashpoints.py`) by chance; whoever dies is started again. At the end every job
has succeeded with exactly one artifact, model version and folder, every byte on disk is what the database says, no two
attempts at a job overlapped, and no event is missing. Prints the counts; exits 1 if one of them is wrong, or if there
were fewer kills than asked for.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import SFTConfig, Stage
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.engine import make_engine
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import Artifact, DatasetKind, Job, JobState, ModelVersion
from tests.journey.chaos_stage import WEIGHTS, weights
from tests.support.factory import Factory
from workers.crashpoints import VARIABLE

SLOTS = 12  # launchers of this machine at a time
MAX_ATTEMPTS = 30  # so much bad luck is no fault of the job
CHANCE = 0.02  # of dying, at each crash point
STUCK = 600.0  # seconds without a job that ends
LOOK_SECONDS = 0.2
DIED = re.compile(r"^crash point (\w+)$", re.MULTILINE)

ENDED = "SELECT count(*) FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled', 'paused')"
OVERLAPS = """
SELECT count(*) FROM job_attempts a JOIN job_attempts b ON a.job_id = b.job_id AND a.epoch < b.epoch
WHERE a.ended_at IS NULL OR a.ended_at > b.claimed_at
"""
GAPS = "SELECT count(*) FROM (SELECT 1 FROM job_events GROUP BY job_id HAVING max(seq) <> count(*)) AS gaps"
ATTEMPTS = "SELECT outcome, count(*) FROM job_attempts GROUP BY outcome ORDER BY outcome"


@dataclass
class Storm:
    """Everything that runs, and what was killed."""

    home: Path
    server: EmbeddedPostgres
    engine: Engine
    dispatchers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    died: int = 0  # dispatchers
    servers_killed: int = 0
    crashes: str = f"*:{CHANCE}"

    def start_dispatcher(self) -> subprocess.Popen[bytes]:
        given = {"RANKLOOP_DATABASE_URL": self.server.url, "RANKLOOP_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        given |= {"RANKLOOP_SLOTS": str(SLOTS), "RANKLOOP_EXECUTOR": "process", VARIABLE: self.crashes}
        with (self.home / "logs" / "dispatchers.log").open("ab") as output:
            command = [sys.executable, "-m", "tests.journey.chaos_dispatcher"]
            return subprocess.Popen(command, env=os.environ | given, stdout=output, stderr=output)

    def tend(self) -> None:
        """Start again whoever died."""
        for place, process in enumerate(self.dispatchers):
            if process.poll() is not None:
                self.died += 1
                self.dispatchers[place] = self.start_dispatcher()

    def kill_postgres(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        self.servers_killed += 1
        while self.server.running:
            time.sleep(0.01)
        self.server.start()

    def number(self, statement: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    def errors(self) -> Counter[str]:
        """What ended attempts, beside the kills."""
        with self.engine.connect() as connection:
            causes = connection.execute(text("SELECT error->>'cause' FROM job_attempts WHERE error IS NOT NULL"))
            return Counter(re.sub(r"[0-9]+", "N", cause)[:160] for (cause,) in causes)

    def kills(self) -> Counter[str]:
        """Who died where, by the last words that they left in their logs."""
        logs = (self.home / "logs").glob("*.log")
        return Counter(point for log in logs for point in DIED.findall(log.read_text(errors="replace")))


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="rankloop-chaos-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # the server may run under another account
        (home / "logs").mkdir()
        with EmbeddedPostgres(home) as server:
            upgrade(server.url)
            storm = Storm(home, server, make_engine(server.url))
            jobs, began = fill(storm, options.jobs), time.monotonic()
            weather(storm, options)
            print(f"{options.jobs} jobs, {options.dispatchers} dispatchers, {time.monotonic() - began:.0f} s")
            return report(storm, jobs, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--dispatchers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=300, help="fewest that the run must have seen")
    parser.add_argument("--postgres", type=int, default=10, help="SIGKILLs of the server")
    return parser.parse_args()


def fill(storm: Storm, count: int) -> dict[uuid.UUID, int]:
    """Queue the jobs; the seed of each."""
    base = storm.home / "models" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")  # as much as the check before the start asks for
    with Session(storm.engine) as session:
        make = Factory(session)
        people = [make.person() for _ in range(3)]
        records = [Demonstration(prompt=Prompt.from_text("Say hello."), response="Hello.")]
        dataset = make.dataset(DatasetKind.DEMONSTRATIONS, records, people[0])
        snapshot = freeze.freeze_dataset(session, dataset.id, DatasetKind.DEMONSTRATIONS, people[0].id)
        model = make.model(path=str(base))
        inputs = {"model": {"model": str(model.id)}, "demonstrations": {"snapshot": str(snapshot.id)}}
        jobs = {}
        for seed in range(count):
            config, owner = SFTConfig(seed=seed).model_dump(mode="json"), people[seed % len(people)].id
            job = job_requests.create_job(session, Stage.SFT, inputs, config, owner, gpus=0, max_attempts=MAX_ATTEMPTS)
            jobs[job.id] = seed
        session.commit()
    return jobs


def weather(storm: Storm, options: argparse.Namespace) -> None:
    """Until every job has ended: start again who died, and kill Postgres at equal distances on the way."""
    storm.dispatchers = [storm.start_dispatcher() for _ in range(options.dispatchers)]
    ended, moved = 0, time.monotonic()
    try:
        while ended < options.jobs:
            time.sleep(LOOK_SECONDS)
            storm.tend()
            if ended >= options.jobs * (storm.servers_killed + 1) / (options.postgres + 1):
                storm.kill_postgres()
                print(f"{ended} jobs ended; killed Postgres", flush=True)
            found = storm.number(ENDED)
            if found != ended:
                ended, moved = found, time.monotonic()
            if time.monotonic() - moved > STUCK:
                raise SystemExit(f"stuck: {ended} of {options.jobs} jobs have ended, none in {STUCK:.0f} s")
        settle(storm)
    finally:
        for process in storm.dispatchers:
            process.kill()


def settle(storm: Storm) -> None:
    """The last launchers end and the last strays are swept by dispatchers that nothing kills any more."""
    for process in storm.dispatchers:
        process.kill()
        process.wait()
    storm.crashes = ""
    calm = storm.start_dispatcher()
    storm.dispatchers = [calm]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and any((storm.home / "staging").iterdir()):
        time.sleep(LOOK_SECONDS)
    calm.terminate()
    calm.wait()


def report(storm: Storm, jobs: dict[uuid.UUID, int], options: argparse.Namespace) -> int:
    """Compare database and disk; 0 when all is as it must be."""
    kills = storm.kills()
    print(f"SIGKILLs: {kills.total()}, of them dispatchers {storm.died}; Postgres {storm.servers_killed}")
    print("  " + ", ".join(f"{point} {count}" for point, count in sorted(kills.items())))
    with storm.engine.connect() as connection:
        print("attempts: " + ", ".join(f"{outcome} {count}" for outcome, count in connection.execute(text(ATTEMPTS))))
    with Session(storm.engine) as session:
        states = Counter(job.state for job in session.scalars(select(Job)))
        wrong = {
            "lost": len(jobs) - states[JobState.SUCCEEDED],
            "without exactly one model version": _not_one(session, jobs),
            "folders or bytes that differ": _differing(storm, session, jobs),
            "folders of nobody": _strays(storm, session),
            "overlapping attempts": storm.number(OVERLAPS),
            "jobs with a gap in their events": storm.number(GAPS),
        }
    for what, count in wrong.items():
        print(f"{what}: {count}")
    for error, count in storm.errors().most_common(5):
        print(f"  {count} attempts ended with: {error}")
    enough = kills.total() >= options.kills and storm.servers_killed >= options.postgres
    if not enough:
        print("too few kills for the run to count")
    return 0 if enough and not any(wrong.values()) else 1


def _not_one(session: Session, jobs: dict[uuid.UUID, int]) -> int:
    versions = Counter(session.scalars(select(ModelVersion.job_id).where(ModelVersion.job_id.is_not(None))))
    return sum(versions[job] != 1 for job in jobs)


def _differing(storm: Storm, session: Session, jobs: dict[uuid.UUID, int]) -> int:
    """Jobs whose folder is not what the rows say, or holds another job's weights."""
    wrong = 0
    for job in session.scalars(select(Job)):
        folder = storm.home / "artifacts" / str(job.id) / str(job.epoch)
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job.id)).all()
        files = {row.name: {"sha256": row.sha256, "size": row.size} for row in rows}
        whole = folder.is_dir() and artifact.verify(folder)["files"] == files
        wrong += not (whole and (folder / WEIGHTS).read_bytes() == weights(jobs[job.id]))
    return wrong


def _strays(storm: Storm, session: Session) -> int:
    """Folders that no row speaks of."""
    known = {f"{job}/{epoch}" for job, epoch in session.execute(select(Job.id, Job.epoch))}
    found = {f"{path.parent.name}/{path.name}" for path in (storm.home / "artifacts").glob("*/*")}
    return len(found - known) + len(list((storm.home / "staging").glob("*")))


if __name__ == "__main__":
    sys.exit(main())
