"""What a test of the engine room looks at and acts on: a database, a home folder, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Engine, create_engine, func, make_url, select, text, update
from sqlalchemy.orm import Session

from alignment.shared.config import SFTConfig, Stage
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.machine import ENDED
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import (
    Artifact,
    CheckpointRow,
    DatasetKind,
    Job,
    JobAttempt,
    JobEventRow,
    JobState,
    Metric,
    ModelVersion,
)

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 600.0  # with a busy machine; on a quiet one nothing here takes 15 s


@dataclass
class World:
    """What a test looks at and acts on."""

    url: str
    engine: Engine
    home: Path
    factory: Any
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """A Python process with the test's settings, in a session of its own."""
        return self.spawn([sys.executable, *command], **environment)

    def spawn(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        given = {"RANKLOOP_DATABASE_URL": self.url, "RANKLOOP_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        with (self.home / "test.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **given, **self.environment, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def dispatcher(self, **environment: str) -> subprocess.Popen[bytes]:
        return self.start("-m", "tests.support.stub", "dispatcher", **environment)

    def claimed_launcher(self, **environment: str) -> subprocess.Popen[bytes]:
        """A launcher for the next job, as another machine's dispatcher would start it."""
        with Session(self.engine) as session:
            job = job_store.claim(session, "elsewhere:1", 60)
            assert job is not None
            session.commit()
            return self.start("-m", "tests.support.stub", "launcher", str(job.id), str(job.epoch), **environment)

    def job(self, script: dict[str, Any] | None = None, **fields: Any) -> uuid.UUID:
        """A queued sft job on a base model whose folder holds the stub's script."""
        return self.jobs(1, script, **fields)[0]

    def jobs(self, count: int, script: dict[str, Any] | None = None, **fields: Any) -> list[uuid.UUID]:
        """That many of them."""
        folder = self.home / "models" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "script.json").write_text(json.dumps(script or {"steps": 3}))
        with Session(self.engine) as session:
            make = self.factory(session)
            person = make.person()
            records = [Demonstration(prompt=Prompt.from_text("Say hello."), response="Hello.")]
            dataset = make.dataset(DatasetKind.DEMONSTRATIONS, records, person)
            snapshot = freeze.freeze_dataset(session, dataset.id, DatasetKind.DEMONSTRATIONS, person.id)
            model = make.model(path=str(folder))
            inputs = {"model": {"model": str(model.id)}, "demonstrations": {"snapshot": str(snapshot.id)}}
            values = {"config": SFTConfig().model_dump(mode="json"), "created_by": person.id, "gpus": 0.0} | fields
            made = [job_requests.create_job(session, Stage.SFT, inputs, **values).id for _ in range(count)]
            session.commit()
            return made

    def hurry(self) -> None:
        """Let attempts that have not begun take no time for their steps."""
        for path in self.home.glob("models/*/script.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 0.0}))

    def read(self, job_id: uuid.UUID) -> Job:
        with Session(self.engine) as session:
            return session.get_one(Job, job_id)

    def versions(self, job_id: uuid.UUID) -> list[ModelVersion]:
        with Session(self.engine) as session:
            return list(session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)))

    def events(self, job_id: uuid.UUID, kind: str) -> list[dict[str, Any]]:
        with Session(self.engine) as session:
            rows = (
                select(JobEventRow.data)
                .where(JobEventRow.job_id == job_id, JobEventRow.type == kind)
                .order_by(JobEventRow.seq)
            )
            return list(session.scalars(rows))

    def wait(self, job_id: uuid.UUID, *states: JobState, until: Callable[[Job], bool] = lambda job: True) -> Job:
        """The job once it is in one of `states` (default: ended)."""
        wanted = states or tuple(ENDED)
        return poll(lambda: self._if(job_id, wanted, until), f"job {job_id} to be {wanted}", self.report)

    def _if(self, job_id: uuid.UUID, wanted: tuple[JobState, ...], until: Callable[[Job], bool]) -> Job | None:
        job = self.read(job_id)
        if job.state in ENDED and job.state not in wanted:
            raise AssertionError(f"the job is {job.state}: {job.error}\n{self.report()}")
        return job if job.state in wanted and until(job) else None

    def running(self, job_id: uuid.UUID) -> Job:
        """The job once its stage has reported a step."""
        return self.wait(job_id, JobState.RUNNING, until=lambda job: job.progress is not None)

    def metrics(self, job_id: uuid.UUID) -> dict[int, float | None]:
        with Session(self.engine) as session:
            rows = select(Metric.step, Metric.value).where(Metric.job_id == job_id, Metric.name == "loss")
            return {row.step: row.value for row in session.execute(rows)}

    def counts(self, job_id: uuid.UUID) -> list[int | None]:
        """How many rows of each kind the job has."""
        tables = (JobEventRow, Metric, Artifact, ModelVersion)
        with Session(self.engine) as session:
            return [session.scalar(select(func.count()).where(table.job_id == job_id)) for table in tables]

    def cancel(self, job_id: uuid.UUID) -> None:
        with Session(self.engine) as session:
            job_requests.request_cancel(session, job_id)
            session.commit()

    def pause(self, job_id: uuid.UUID) -> None:
        with Session(self.engine) as session:
            job_requests.request_pause(session, job_id)
            session.commit()

    def resume(self, job_id: uuid.UUID) -> None:
        with Session(self.engine) as session:
            job_requests.resume(session, job_id)
            session.commit()

    def checkpoints(self, job_id: uuid.UUID) -> list[CheckpointRow]:
        rows = select(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(CheckpointRow.step)
        with Session(self.engine) as session:
            return list(session.scalars(rows))

    def attempts(self, job_id: uuid.UUID) -> list[JobAttempt]:
        rows = select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(JobAttempt.epoch)
        with Session(self.engine) as session:
            return list(session.scalars(rows))

    def begins(self, job_id: uuid.UUID) -> list[int]:
        """The steps after which attempts went on from a checkpoint."""
        notes = [re.fullmatch(r"begins after step (\d+)", note["message"]) for note in self.events(job_id, "note")]
        return [int(match[1]) for match in notes if match]

    def expire(self, job_id: uuid.UUID) -> None:
        """As if the lease had run out a second ago."""
        with Session(self.engine) as session:
            past = func.clock_timestamp() - timedelta(seconds=1)
            held = (Job.id == job_id, Job.lease_until.is_not(None))
            session.execute(update(Job).where(*held).values(lease_until=past))
            session.commit()

    def told(self, job_id: uuid.UUID, epoch: int) -> int:
        """How many events an attempt has written."""
        with Session(self.engine) as session:
            return (
                session.scalar(select(func.count()).where(JobEventRow.job_id == job_id, JobEventRow.epoch == epoch))
                or 0
            )

    def ended(self) -> int:
        """How many jobs have."""
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).where(Job.state.in_(ENDED))) or 0

    def end(self) -> None:
        """End whatever still runs, launchers too."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("RANKLOOP_HOME") == str(self.home):
                process.kill()

    @contextlib.contextmanager
    def closed_database(self) -> Iterator[None]:
        """Nobody is let in, and who is in is thrown out; afterwards all is as before."""
        url = make_url(self.url)
        admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false'))
            self._throw_out(connection)
            yield
            connection.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true'))
        admin.dispose()

    def throw_out(self) -> None:
        """Everybody's connections are closed."""
        with self.engine.connect() as connection:
            self._throw_out(connection)

    def _throw_out(self, connection: Connection) -> None:
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
        )
        connection.execute(text(others), {"name": make_url(self.url).database})

    def launcher(self, job: Job) -> psutil.Process:
        assert job.claimed_by
        return psutil.Process(int(job.claimed_by.rpartition(":")[2]))

    def actor(self, job_id: uuid.UUID) -> psutil.Process:
        """The process in which the newest attempt's stage runs."""
        notes = [re.match(r"process (\d+) ", note["message"]) for note in self.events(job_id, "note")]
        return psutil.Process(int([match for match in notes if match][-1][1]))

    def report(self) -> str:
        logs = [self.home / "test.log", *sorted((self.home / "logs").glob("*"))]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs if log.exists())


def poll(question: Callable[[], Any], what: str, report: Callable[[], str] = str, patience: float = PATIENCE) -> Any:
    """Ask until the answer is true; AssertionError with `report` when it never is."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited {patience:.0f} s for {what}\n{report()}")
