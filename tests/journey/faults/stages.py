"""Faults inside the stage: memory, disk, numbers that are none, bad input, a GPU that nobody has."""

from __future__ import annotations

import subprocess
import uuid

import torch
from sqlalchemy.orm import Session

from alignment.shared.config import SFTConfig
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, JobState
from tests.journey.faults.ground import Ground, NotHere, Seen
from tests.journey.rig import COMMON, PROMPTS
from tests.support.alignment import tiny
from tests.support.engine_room import World
from tests.support.factory import Factory


def _failed(ground: Ground, done: str, fault: str, attempts: int = 1) -> Seen:
    with ground.world() as world:
        job = world.job({"steps": 5, "save_every": 1, "fault": fault})
        world.dispatcher()
        return _end(world, job, done, attempts)


def _end(world: World, job: uuid.UUID, done: str, attempts: int = 1) -> Seen:
    row = world.wait(job, JobState.FAILED)
    assert row.attempts == attempts, f"{row.attempts} attempts"
    assert row.error["next_step"]
    assert row.error["log"]
    return Seen(
        done, f"failed in attempt {row.epoch}: “{row.error['cause']}” {row.error['next_step']}", row.error["kind"]
    )


def host_memory(ground: Ground) -> Seen:
    return _failed(ground, "RLIMIT_AS 256 MB above what the stage has; it asks for 2 GiB", "hungry")


def numbers(ground: Ground) -> Seen:
    """Weights so large that the logits of the first step overflow."""
    model = tiny.causal()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1e38)
    with ground.world() as world:
        base = tiny.save(model, world.home / "models" / "tiny")
        with Session(world.engine) as session:
            make = Factory(session)
            rows = [Demonstration(prompt=Prompt.from_text(text), response="w1 w2") for text in PROMPTS]
            data = make.dataset(DatasetKind.DEMONSTRATIONS, rows)
            snapshot = freeze.freeze_dataset(session, data.id, DatasetKind.DEMONSTRATIONS, data.created_by)
            inputs = {"model": {"model": str(make.model(path=str(base)).id)}}
            inputs["demonstrations"] = {"snapshot": str(snapshot.id)}
            config = SFTConfig.model_validate(COMMON).model_dump(mode="json")
            job = make.job(inputs=inputs, config=config).id
            session.commit()
        world.start("-m", "workers")
        return _end(world, job, "SFT on weights whose logits overflow")


def disk(ground: Ground) -> Seen:
    with ground.world() as world:
        folder = world.home / "checkpoints"
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
            raise NotHere("mounting a small disk needs root")
        try:
            job = world.job({"steps": 50, "save_every": 1, "bytes": 150_000})
            world.dispatcher()
            seen = _end(world, job, "checkpoints on a tmpfs of 1 MB, which fills up")
            kept = world.checkpoints(job)
            assert kept
            return Seen(seen.done, f"{seen.seen} {len(kept)} checkpoints before it are whole", seen.kind)
        finally:
            world.end()
            subprocess.run(["umount", folder], check=True)


def bad_input(ground: Ground) -> Seen:
    return _failed(ground, "a setting that there is not reaches the stage", "setting")


def infeasible(ground: Ground) -> Seen:
    with ground.world() as world:
        job = world.job(
            {"steps": 3}, gpus=8.0, config=SFTConfig(batch_size=8, micro_batch_size=1).model_dump(mode="json")
        )
        world.dispatcher(RANKLOOP_INFEASIBLE_SECONDS="1")
        return _end(world, job, "a job that asks for 8 GPUs")


ROWS = {
    "out of memory": host_memory,
    "loss is no number": numbers,
    "disk full under checkpoints": disk,
    "bad input": bad_input,
    "more GPUs than there are": infeasible,
}
