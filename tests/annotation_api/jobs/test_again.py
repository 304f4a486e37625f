"""Trying again with other settings: checked at the door, told in the job's notes, refused while it is at work."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import LoRAConfig, PPOConfig
from alignment.shared.events import SavedCheckpoint
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, JobEventRow, ModelVersion, Role
from tests.support.jobs import As

WHY = "The held-out set is tiny; people will judge the result."


def failed(session: Session, client: Any, body: dict[str, Any], saved: int | None = None) -> Job:
    """A job that the door took, and whose attempt failed."""
    made = client.post("/v1/jobs", json=body)
    assert made.status_code == 202, made.text
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.mark_running(session, job.id, job.epoch)
    if saved:
        job_store.record_checkpoint(
            session, job.id, job.epoch, SavedCheckpoint("1/checkpoint", saved, "0" * 64, 10, 1.0)
        )
    why = Failure(ErrorKind.BAD_INPUT, "The gate refuses the reward model.", "Say why in accept_reward_model.")
    job_store.fail(session, job.id, job.epoch, why, Again.NEVER)
    return job


def notes(session: Session, job: Job) -> list[str]:
    query = select(JobEventRow).where(JobEventRow.job_id == job.id, JobEventRow.type == "note")
    return [row.data["message"] for row in session.scalars(query.order_by(JobEventRow.seq))]


@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_a_failed_job_is_tried_again_with_other_settings(
    as_: As, session: Session, body: Callable[..., dict[str, Any]], verb: str
) -> None:
    client = as_(Role.ENGINEER)
    job = failed(session, client, body("ppo", {"kl_coef": 0.1, "lora": {"rank": 4}}))
    changes = {"config": {"accept_reward_model": WHY, "lora": {"rank": 8}}, "gpus": 0, "priority": 5}
    for _ in range(2):  # a form sent twice
        answer = client.post(f"/v1/jobs/{job.id}:{verb}", json=changes)
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    shown = answer.json()
    assert (shown["gpus"], shown["priority"], shown["config"]["kl_coef"]) == (0, 5, 0.1)
    assert shown["config"]["lora"] == LoRAConfig(rank=8, alpha=32.0).model_dump()
    PPOConfig.model_validate(shown["config"])
    assert notes(session, job) == [
        f'Settings changed: lora.rank from 4 to 8; accept_reward_model from unset to "{WHY}"; GPUs from 1.0 to 0.0; '
        "priority from 0 to 5."
    ]


def test_other_settings_begin_anew_and_when_to_save_does_not(
    as_: As, session: Session, body: Callable[..., dict[str, Any]]
) -> None:
    client = as_(Role.ENGINEER)
    job = failed(session, client, body("sft"), saved=7)
    assert client.post(f"/v1/jobs/{job.id}:retry", json={"config": {"save_every": 3}}).json()["saved_step"] == 7
    job_store.claim(session, "host:1", 60)
    why = Failure(ErrorKind.DIVERGED, "The loss is NaN.")
    job_store.fail(session, job.id, job.epoch, why, Again.NEVER)
    assert client.post(f"/v1/jobs/{job.id}:retry", json={"config": {"epochs": 1}}).json()["saved_step"] is None
    assert notes(session, job)[-1].endswith("It begins anew: its checkpoints belong to the settings before.")


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"config": {"learning_rat": 1e-4}}, "/config/learning_rat", "Did you mean 'learning_rate'?"),
        ({"config": {"batch_size": 7}}, "/config", "must be a multiple of micro_batch_size"),
        ({"gpus": 1.5}, "/gpus", "neither a part of one GPU nor a whole number"),
        ({"confg": {}}, "/confg", "Did you mean 'config'?"),
        ({"config": {"accept_reward_model": "why"}}, "/config/accept_reward_model", "at least 10 characters"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_field_and_nothing_changes(
    as_: As, session: Session, body: Callable[..., dict[str, Any]], changes: Any, pointer: str, message: str
) -> None:
    client = as_(Role.ENGINEER)
    job = failed(session, client, body("ppo"))
    answer = client.post(f"/v1/jobs/{job.id}:retry", json=changes)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert message in answer.json()["errors"][0]["message"]
    assert client.get(f"/v1/jobs/{job.id}").json()["state"] == "failed"
    assert notes(session, job) == []


def test_a_job_at_work_keeps_its_settings(as_: As, session: Session, body: Callable[..., dict[str, Any]]) -> None:
    client = as_(Role.ENGINEER)
    key = client.post("/v1/jobs", json=body("sft")).json()["id"]
    assert client.post(f"/v1/jobs/{key}:resume", json={"config": {"epochs": 5}}).json()["config"]["epochs"] == 5
    claimed = job_store.claim(session, "host:1", 60)
    assert claimed is not None
    answer = client.post(f"/v1/jobs/{key}:resume", json={"config": {"epochs": 9}})
    assert answer.status_code == 409
    assert "pause it first" in answer.json()["detail"]
    same = client.post(f"/v1/jobs/{key}:resume", json={"config": {"epochs": 5}})
    assert same.status_code == 200  # nothing is changed by it


def test_a_job_whose_model_is_gone_is_not_queued_to_fail(
    as_: As, session: Session, body: Callable[..., dict[str, Any]]
) -> None:
    client = as_(Role.ENGINEER)
    job = failed(session, client, body("sft"))
    model = session.get_one(ModelVersion, uuid.UUID(job.inputs["model"]["model"]))
    model.path = "/models/was-here"
    session.flush()
    answer = client.post(f"/v1/jobs/{job.id}:retry")
    assert answer.status_code == 409
    assert f"the files of {model.name}, which it reads, are gone" in answer.json()["detail"]
    assert client.get(f"/v1/jobs/{job.id}").json()["state"] == "failed"


def test_a_pipeline_goes_on_with_other_settings_of_its_stages(
    as_: As, session: Session, things: dict[str, Any]
) -> None:
    client = as_(Role.ENGINEER)
    wanted = {"model": {"model": str(things["base"])}, "demonstrations": {"dataset": str(things["demonstrations"])}}
    wanted |= {"preferences": {"dataset": str(things["rankings"])}, "name": "first try", "tags": ["toy"]}
    made = client.post("/v1/pipelines", json=wanted).json()
    assert [job["name"] for job in made["jobs"]] == ["first try sft", "first try reward", "first try ppo"]
    assert client.post(f"/v1/pipelines/{made['id']}:pause").status_code == 200
    answer = client.post(f"/v1/pipelines/{made['id']}:resume", json={"config": {"ppo": {"accept_reward_model": WHY}}})
    assert answer.status_code == 202
    assert [job["config"].get("accept_reward_model") for job in answer.json()["jobs"]] == [None, None, WHY]
    wrong = client.post(f"/v1/pipelines/{made['id']}:resume", json={"config": {"ppo": {"kl_coeff": 1}, "sample": {}}})
    assert [each["pointer"] for each in wrong.json()["errors"]] == ["/config/sample"]
    wrong = client.post(f"/v1/pipelines/{made['id']}:resume", json={"config": {"ppo": {"kl_coeff": 1}}})
    assert [each["pointer"] for each in wrong.json()["errors"]] == ["/config/ppo/kl_coeff"]


def test_a_pipeline_is_tried_dry(as_: As, session: Session, things: dict[str, Any]) -> None:
    client = as_(Role.ENGINEER)
    wanted = {"model": {"model": str(things["base"])}, "demonstrations": {"dataset": str(things["demonstrations"])}}
    wanted |= {"preferences": {"dataset": str(things["rankings"])}, "preset": "toy"}
    answer = client.post("/v1/pipelines:validate", json=wanted).json()
    assert answer["ok"]
    assert {stage: found["steps"] for stage, found in answer["estimates"].items()} == {"sft": 5, "reward": 6, "ppo": 32}
    assert client.get("/v1/jobs").json()["items"] == []
    refused = client.post("/v1/pipelines:validate", json=wanted | {"config": {"ppo": {"updates": 0}}}).json()
    assert (refused["ok"], [each["pointer"] for each in refused["problems"]]) == (False, ["/config/ppo/updates"])
