"""PPO and sampling as jobs on two GPUs that do not exist: one process for each, one model, one set of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import PPOConfig, SampleConfig, Stage
from alignment.shared.records import Prompt
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, Job, JobState, ModelKind
from tests.support.alignment import tiny
from tests.support.engine_room import World
from tests.support.ray_head import Head

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.slow]

PROMPTS = [Prompt.from_text(f"w{i} w{j}") for i in range(5) for j in range(5)]


@pytest.fixture
def head() -> Iterator[Head]:
    with Head(gpus=2) as head:
        yield head


@pytest.fixture
def given(world: World) -> dict[str, Any]:
    """A policy and prompts, as a job names them."""
    base = tiny.save(tiny.causal(), world.home / "models" / "tiny")
    with Session(world.engine) as session:
        make = world.factory(session)
        dataset = make.dataset(DatasetKind.PROMPTS, PROMPTS, person := make.person())
        frozen = freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, person.id)
        named = {"model": {"model": str(make.model(path=str(base)).id)}, "prompts": {"snapshot": str(frozen.id)}}
        session.commit()
        return named


def done(world: World, head: Head, stage: Stage, inputs: dict[str, Any], config: PPOConfig | SampleConfig) -> Job:
    """A job on both GPUs, once it has succeeded."""
    with Session(world.engine, expire_on_commit=False) as session:
        settings = config.model_dump(mode="json")
        job = world.factory(session).job(stage, inputs=inputs, config=settings, gpus=2.0)
        session.commit()
    world.environment |= head.environment
    world.start("-m", "workers")
    ended = world.wait(job.id)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None), world.report()
    return ended


def test_ppo_runs_on_two_gpus(world: World, head: Head, given: dict[str, Any]) -> None:
    judge = tiny.save(tiny.scorer(), world.home / "models" / "judge")
    with Session(world.engine) as session:
        reward_model = {"model": str(world.factory(session).model(ModelKind.REWARD, path=str(judge)).id)}
        session.commit()
    config = PPOConfig(
        learning_rate=1e-2, batch_size=6, micro_batch_size=3, updates=4, evaluate_every=2, max_length=32,
        max_response_length=8, heldout_fraction=0.3, evaluate_replies=16, save_every=1, shard_weights=True,
    )  # fmt: skip
    ppo = done(world, head, Stage.PPO, given | {"reward_model": reward_model}, config)
    assert (ppo.progress["device"], ppo.result["metrics"]["updates"]) == ("gpu", 4)
    (version,) = world.versions(ppo.id)
    assert "model.safetensors" in artifact.verify(Path(version.path))["files"]
    assert [row.step for row in world.checkpoints(ppo.id)] == [1, 2, 3, 4]


@pytest.mark.deep(
    reason="PPO's two actors reply in every run, and processes without Ray show that samples are shared out"
)
def test_sampling_runs_on_two_gpus(world: World, head: Head, given: dict[str, Any]) -> None:
    inputs = {"models": [given["model"]], "prompts": given["prompts"]}
    config = SampleConfig(responses_per_prompt=2, max_response_length=8, batch_size=16)
    assert done(world, head, Stage.SAMPLE, inputs, config).result["metrics"]["prompts"] == 25
