"""Work on data as real jobs: the real dispatcher, real launchers, and Ray where it makes a difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from alignment.shared.config import InstructConfig, Stage
from alignment.shared.on_data.prepare import PrepareConfig
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, Job, JobState
from tests.support.engine_room import World, poll
from tests.workers.instruct.service import serving
from tests.workers.instruct.test_work import SEEDS
from tests.workers.test_engine_room import RAY_RARELY
from workers.instruct.journal import NAME

pytestmark = [pytest.mark.postgres]
ROWS = [Demonstration(prompt=Prompt.from_text(text), response="Write to a@example.com.") for text in SEEDS]


def queued(world: World, stage: Stage, name: str, config: PrepareConfig | InstructConfig) -> Job:
    with Session(world.engine, expire_on_commit=False) as session:
        make = world.factory(session)
        person = make.person()
        dataset = make.dataset(DatasetKind.DEMONSTRATIONS, [*ROWS, ROWS[0]], person)
        snapshot = freeze.freeze_dataset(session, dataset.id, DatasetKind.DEMONSTRATIONS, person.id)
        inputs = {name: {"snapshot": str(snapshot.id)}}
        job: Job = make.job(stage, inputs=inputs, config=config.model_dump(mode="json"), gpus=0.0)
        session.commit()
        return job


def outcome(world: World, job: Job) -> list[Demonstration]:
    path = world.home / "artifacts" / str(job.id) / str(job.epoch) / "prepared.jsonl"
    return [Demonstration.from_line(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("either", ["process", RAY_RARELY], indirect=True)
def test_a_preparation_is_a_job(either: World) -> None:
    job = queued(either, Stage.PREPARE, "records", PrepareConfig(duplicates="exact", personal="mask"))
    either.start("-m", "workers")
    done = either.wait(job.id)
    assert done.state is JobState.SUCCEEDED, either.report()
    assert [record.response for record in outcome(either, done)] == ["Write to [email 1]."] * len(ROWS)
    assert done.result["details"]["preparation"]["after"] == len(ROWS)


def test_a_killed_launcher_costs_instructions_one_round(world: World) -> None:
    with serving() as service:
        service.most = (
            24  # a round asks at most 15 times, so one is whole; then the job waits until its launcher is dead
        )
        world.environment |= {"RANKLOOP_TEACHERS": f"ours={service.url}#A_KEY_OF_OURS", "A_KEY_OF_OURS": "quiet"}
        config = InstructConfig(count=48, requests=3, teacher="ours", teacher_model="m")
        job = queued(world, Stage.INSTRUCT, "seeds", config)
        world.start("-m", "workers")
        launcher = world.launcher(world.running(job.id))
        rounds = world.home / "checkpoints" / str(job.id) / "1" / NAME
        poll(lambda: rounds.exists() and service.asked > service.most, "a round")
        before = [json.loads(line)["items"] for line in rounds.read_text().splitlines()]
        launcher.kill()
        service.go_on.set()
        done = world.wait(job.id)
    assert (done.state, done.epoch) == (JobState.SUCCEEDED, 2), world.report()
    kept = [item["output"] for items in before for item in items]
    assert [record.response for record in outcome(world, done)][: len(kept)] == kept
    assert service.keys == {"Bearer quiet"}
    assert "quiet" not in Path(world.home / "test.log").read_text()
    assert all("quiet" not in path.read_text() for path in (world.home / "logs").iterdir())


def test_an_endpoint_that_no_setting_names_is_refused(world: World) -> None:
    job = queued(world, Stage.INSTRUCT, "seeds", InstructConfig(teacher="theirs", teacher_model="m"))
    world.start("-m", "workers")
    done = world.wait(job.id)
    assert (done.state, done.error["kind"]) == (JobState.FAILED, "bad_input")
    assert "not allowed on this machine" in done.error["cause"]
