"""/v1/pipelines: three jobs on edges, all or none."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure, ModelToRegister
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import DatasetKind, Job, JobState, ModelKind, Pipeline, Role, Snapshot
from tests.support.jobs import kinds_of

As = Callable[..., TestClient]


@pytest.fixture
def body(make: Any, tmp_path: Path) -> dict[str, Any]:
    rankings = [
        Ranking(prompt=Prompt.from_text(f"Q{i}?"), responses=("a", "b"), groups=((0,), (1,))) for i in range(20)
    ]
    demonstrations = [Demonstration(prompt=Prompt.from_text("Q?"), response="a")]
    return {
        "model": {"model": str(make.model(path=str(tmp_path)).id)},
        "demonstrations": {"dataset": str(make.dataset(DatasetKind.CONVERSATIONS, demonstrations).id)},
        "preferences": {"dataset": str(make.dataset(DatasetKind.PREFERENCES, rankings).id)},
        "config": {"ppo": {"updates": 3}, "sft": {"epochs": 1}},
        "gpus": 0,
    }


def test_three_jobs_wait_for_one_another(as_: As, body: dict[str, Any], session: Session) -> None:
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/pipelines", json=body)
    assert answer.status_code == 202, answer.text
    pipeline = answer.json()
    sft, reward, ppo = pipeline["jobs"]
    assert [job["stage"] for job in pipeline["jobs"]] == ["sft", "reward", "ppo"]
    assert [job["state"] for job in pipeline["jobs"]] == ["queued", "blocked", "blocked"]
    assert (reward["needs"], sorted(ppo["needs"])) == ([sft["id"]], sorted([sft["id"], reward["id"]]))
    assert reward["inputs"]["model"] == {"job": sft["id"]}
    assert (ppo["inputs"]["model"], ppo["inputs"]["reward_model"]) == ({"job": sft["id"]}, {"job": reward["id"]})
    assert (sft["config"]["epochs"], ppo["config"]["updates"], ppo["gpus"]) == (1, 3, 0)
    prompts = session.get_one(Snapshot, uuid.UUID(ppo["inputs"]["prompts"]["snapshot"]))
    assert (prompts.kind, prompts.rows) == ("prompts", 20)  # the preferences' own prompts
    assert client.get(answer.headers["location"]).json() == pipeline
    assert pipeline["state"] == "queued"


def test_the_people_of_a_project_compare_what_ppo_says(as_: As, body: dict[str, Any], make: Any) -> None:
    project = str(make.project().id)
    jobs = as_(Role.ENGINEER).post("/v1/pipelines", json={**body, "project": project}).json()["jobs"]
    assert [job["inputs"].get("project") for job in jobs] == [None, None, project]


def test_a_failed_stage_shows_and_is_resumed_by_retry(as_: As, body: dict[str, Any], session: Session) -> None:
    client = as_(Role.ENGINEER)
    key = client.post("/v1/pipelines", json=body).json()["id"]
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.fail(session, job.id, job.epoch, Failure(ErrorKind.BAD_INPUT, "No."), Again.NEVER)
    shown = client.get(f"/v1/pipelines/{key}").json()
    assert (shown["state"], [row["state"] for row in shown["jobs"]]) == ("failed", ["failed", "cancelled", "cancelled"])
    client.post(f"/v1/jobs/{job.id}:retry")
    shown = client.get(f"/v1/pipelines/{key}").json()
    assert [row["state"] for row in shown["jobs"]] == ["queued", "blocked", "blocked"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"config": {"sft": {"epochz": 1}}}, "/config/sft/epochz"),
        ({"config": {"ppo": {"kl_coef": -1}}}, "/config/ppo/kl_coef"),
        ({"config": {"sample": {}}}, "/config/sample"),
        ({"config": {"dpo": {}}}, "/config/dpo"),
        ({"preset": "nope"}, "/preset"),
        ({"model": {"model": str(uuid.uuid4())}}, "/model"),
        ({"demonstrations": {"dataset": str(uuid.uuid4())}}, "/demonstrations"),
        ({"preferences": {"dataset": str(uuid.uuid4())}}, "/preferences"),
        ({"prompts": {"dataset": str(uuid.uuid4())}}, "/prompts"),
        ({"project": str(uuid.uuid4())}, "/project"),
        ({"preferencs": {}}, "/preferencs"),
    ],
)
def test_a_pipeline_is_all_or_none(
    as_: As, body: dict[str, Any], session: Session, change: dict[str, Any], pointer: str
) -> None:
    answer = as_(Role.ENGINEER).post("/v1/pipelines", json={**body, **change})
    assert answer.status_code == 422, answer.text
    assert any(problem["pointer"].startswith(pointer) for problem in answer.json()["errors"]), answer.json()
    assert [session.scalar(select(func.count()).select_from(t)) for t in (Pipeline, Job, Snapshot)] == [0, 0, 0]


def test_settings_of_every_stage_are_checked_together(as_: As, body: dict[str, Any]) -> None:
    config = {"sft": {"epochs": -1}, "reward": {"epochs": -1}, "ppo": {"updates": 0}}
    problems = as_(Role.ENGINEER).post("/v1/pipelines", json={**body, "config": config}).json()["errors"]
    assert [p["pointer"] for p in problems] == ["/config/sft/epochs", "/config/reward/epochs", "/config/ppo/updates"]


def test_what_a_stage_cannot_do_with_the_gpus_names_the_stage(as_: As, body: dict[str, Any]) -> None:
    config = {"sft": {"batch_size": 32, "micro_batch_size": 4}, "reward": {"batch_size": 6, "micro_batch_size": 3}}
    wanted = {
        **body,
        "gpus": 4,
        "config": {**config, "ppo": {"batch_size": 4, "mini_batches": 2, "micro_batch_size": 2}},
    }
    client = as_(Role.ENGINEER)
    dry = client.post("/v1/pipelines:validate", json=wanted).json()["problems"]
    assert [each["pointer"] for each in dry] == ["/gpus", "/gpus"]
    assert [each["message"].partition(" ")[0] for each in dry] == ["reward:", "ppo:"]
    assert client.post("/v1/pipelines", json=wanted).json()["errors"] == dry


def test_what_a_stage_finds_of_its_data_names_the_stage(as_: As, body: dict[str, Any], make: Any) -> None:
    few = [Ranking(prompt=Prompt.from_text("Q?"), responses=("a", "b"), groups=((0,), (1,)))]
    wanted = {**body, "preferences": {"dataset": str(make.dataset(DatasetKind.PREFERENCES, few).id)}}
    (problem,) = as_(Role.ENGINEER).post("/v1/pipelines:validate", json=wanted).json()["problems"]
    assert problem["message"].startswith("reward: Only ")


def test_a_reward_model_cannot_be_the_base(as_: As, body: dict[str, Any], make: Any, tmp_path: Path) -> None:
    model = make.model(ModelKind.REWARD, path=str(tmp_path))
    answer = as_(Role.ENGINEER).post("/v1/pipelines", json={**body, "model": {"model": str(model.id)}})
    assert answer.json()["errors"][0]["pointer"] == "/model"


def states(pipeline: dict[str, Any]) -> list[str]:
    return [job["state"] for job in pipeline["jobs"]]


def test_pipelines_are_listed_newest_first_with_their_jobs(as_: As, body: dict[str, Any], person: Any) -> None:
    me = as_(person(Role.ENGINEER))
    made = [me.post("/v1/pipelines", json=body).json() for _ in range(3)]
    other = as_(Role.ENGINEER)
    first = other.get("/v1/pipelines", params={"limit": 2}).json()
    rest = other.get("/v1/pipelines", params={"limit": 2, "cursor": first["next"]}).json()
    assert first["items"] + rest["items"] == made[::-1]
    assert rest["next"] is None
    assert other.get("/v1/pipelines", params={"created_by": "me"}).json()["items"] == []
    assert len(me.get("/v1/pipelines", params={"created_by": "me"}).json()["items"]) == 3


def test_a_pipeline_is_stopped_whole_and_goes_on_from_where_it_was(
    as_: As, body: dict[str, Any], session: Session
) -> None:
    """SFT has succeeded, the reward model is at work: only what has not ended is stopped and taken up."""
    client = as_(Role.ENGINEER)
    place = f"/v1/pipelines/{client.post('/v1/pipelines', json=body).json()['id']}"
    sft = job_store.claim(session, "host:1", 60)
    assert sft is not None
    job_store.mark_running(session, sft.id, sft.epoch)
    job_store.mark_committing(session, sft.id, sft.epoch)
    model = ModelToRegister("sft", ModelKind.SFT, "/models/sft", None)
    job_store.commit_success(session, sft.id, sft.epoch, result={}, artifacts=[], model=model)
    reward = job_store.claim(session, "host:1", 60)
    assert reward is not None
    job_store.mark_running(session, reward.id, reward.epoch)
    for _ in range(2):
        stopping = client.post(f"{place}:cancel")
        assert (stopping.status_code, states(stopping.json())) == (202, ["succeeded", "running", "cancelled"])
    job_store.mark_cancelled(session, reward.id, reward.epoch)
    stopped = client.post(f"{place}:cancel")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "cancelled")
    for _ in range(2):
        again = client.post(f"{place}:resume")
        assert (again.status_code, states(again.json())) == (202, ["succeeded", "queued", "blocked"])


def test_a_pipeline_that_succeeded_is_not_resumed(as_: As, body: dict[str, Any], session: Session) -> None:
    client = as_(Role.ENGINEER)
    key = client.post("/v1/pipelines", json=body).json()["id"]
    session.execute(update(Job).values(state=JobState.SUCCEEDED))
    session.expire_all()
    answer = client.post(f"/v1/pipelines/{key}:resume")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:not-resumed")


@pytest.mark.parametrize("verb", ["", ":cancel", ":resume"])
def test_an_unknown_pipeline_is_404(as_: As, verb: str) -> None:
    client = as_(Role.ENGINEER)
    place = f"/v1/pipelines/{uuid.uuid4()}{verb}"
    assert (client.post(place) if verb else client.get(place)).status_code == 404


def test_all_three_may_use_the_cpu_of_a_cluster(as_: As, body: dict[str, Any]) -> None:
    made = as_(Role.ENGINEER).post("/v1/pipelines", json=body | {"gpus": 1, "allow_cpu": True}).json()
    assert [job["allow_cpu"] for job in made["jobs"]] == [True] * 3


@pytest.mark.parametrize("gpus", [4, 0.5])
def test_each_job_has_the_gpus_that_were_asked_for(as_: As, body: dict[str, Any], gpus: float) -> None:
    made = as_(Role.ENGINEER).post("/v1/pipelines", json=body | {"gpus": gpus}).json()
    assert [job["gpus"] for job in made["jobs"]] == [gpus] * 3


def test_a_mix_of_pretraining_takes_the_demonstrations_unless_others_are_named(
    as_: As, body: dict[str, Any], make: Any, session: Session
) -> None:
    client = as_(Role.ENGINEER)
    mixed = body | {"config": {"ppo": {"ptx_coef": 0.5}}}
    sft, _, ppo = client.post("/v1/pipelines", json=mixed).json()["jobs"]
    assert ppo["inputs"]["pretraining"] == sft["inputs"]["demonstrations"]
    others = [Demonstration(prompt=Prompt.from_text("other?"), response="b")] * 2
    named = {"dataset": str(make.dataset(DatasetKind.DEMONSTRATIONS, others).id)}
    sft, _, ppo = client.post("/v1/pipelines", json=mixed | {"pretraining": named}).json()["jobs"]
    assert session.get_one(Snapshot, uuid.UUID(ppo["inputs"]["pretraining"]["snapshot"])).rows == 2
    refused = client.post("/v1/pipelines", json=body | {"pretraining": named})
    assert [problem["pointer"] for problem in refused.json()["errors"]] == ["/pretraining"]


def test_a_project_gives_the_reward_stage_all_that_was_said_in_it(
    as_: As, body: dict[str, Any], session: Session, talkative: Any
) -> None:
    made = as_(Role.ENGINEER).post("/v1/pipelines", json=body | {"preferences": {"project": str(talkative.id)}}).json()
    sft, reward, ppo = (kinds_of(session, job["inputs"]) for job in made["jobs"])
    assert reward == {"rankings": "rankings", "answers": "answers", "verdicts": "verdicts"}
    assert (sft, ppo) == ({"demonstrations": "demonstrations"}, {"prompts": "prompts"})
