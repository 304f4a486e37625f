"""PPO and sampling as jobs on two GPUs that do not exist: one process for each, one model, one set of answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import PPOConfig, SampleConfig, Stage
from alignment.shared.records import Prompt
from annotation_api.db.snapshots import freeze
from annotation_api.db.tables import DatasetKind, JobState, ModelKind
from tests.support.alignment import tiny
from tests.support.engine_room import World
from tests.support.ray_head import Head

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.slow]

PROMPTS = [Prompt.from_text(f"w{i} w{j}") for i in range(5) for j in range(5)]


@pytest.fixture
def head() -> Iterator[Head]:
    with Head(gpus=2) as head:
        yield head


def test_ppo_and_sampling_run_on_two_gpus(world: World, head: Head) -> None:
    base = tiny.save(tiny.causal(), world.home / "models" / "tiny")
    judge = tiny.save(tiny.scorer(), world.home / "models" / "judge")
    config = PPOConfig(
        learning_rate=1e-2, batch_size=6, micro_batch_size=3, updates=4, evaluate_every=2, max_length=32,
        max_response_length=8, heldout_fraction=0.3, evaluate_replies=16, save_every=1, shard_weights=True,
    )  # fmt: skip
    with Session(world.engine, expire_on_commit=False) as session:
        make = world.factory(session)
        dataset = make.dataset(DatasetKind.PROMPTS, PROMPTS, person := make.person())
        prompts = {"snapshot": str(freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, person.id).id)}
        model = {"model": str(make.model(path=str(base)).id)}
        inputs = {"model": model, "prompts": prompts}
        inputs["reward_model"] = {"model": str(make.model(ModelKind.REWARD, path=str(judge)).id)}
        ppo = make.job(Stage.PPO, inputs=inputs, config=config.model_dump(mode="json"), gpus=2.0)
        asked = SampleConfig(responses_per_prompt=2, max_response_length=8, batch_size=16).model_dump(mode="json")
        sample = make.job(Stage.SAMPLE, inputs={"models": [model], "prompts": prompts}, config=asked, gpus=2.0)
        session.commit()
    world.environment |= head.environment
    world.start("-m", "workers")

    done = world.wait(ppo.id)
    assert done.state is JobState.SUCCEEDED, world.report()
    assert (done.progress["device"], done.result["metrics"]["updates"]) == ("gpu", 4)
    (version,) = world.versions(ppo.id)
    assert "model.safetensors" in artifact.verify(Path(version.path))["files"]
    assert [row.step for row in world.checkpoints(ppo.id)] == [1, 2, 3, 4]
    drawn = world.wait(sample.id)
    assert (drawn.state, drawn.error) == (JobState.SUCCEEDED, None), world.report()
    assert drawn.result["metrics"]["prompts"] == 25
