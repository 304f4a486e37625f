"""/v1/jobs: what is refused at the door, what a job row holds, and its life as seen from outside."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.config import CONFIGS, Stage, load_preset
from alignment.events import ErrorKind, Progress
from alignment.records import Demonstration, Prompt, Ranking
from annotation_api.db import job_store
from annotation_api.db.job_events import Event
from annotation_api.db.job_records import Again, ArtifactFile, Failure, NewCheckpoint, NewModel
from annotation_api.db.tables import Alias, DatasetKind, Job, JobDependency, ModelKind, Role, Snapshot
from annotation_api.jobs import service

As = Callable[..., TestClient]


def ranking(i: int, *, tie: bool = False) -> Ranking:
    groups = ((0, 1),) if tie else ((0,), (1,))
    return Ranking(prompt=Prompt.from_text(f"Question {i}?"), responses=("a", "b"), groups=groups)


@pytest.fixture
def things(make: Any, session: Session, tmp_path: Path) -> dict[str, Any]:
    """One of each input that a job can have."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    demonstrations = [Demonstration(prompt=Prompt.from_text(f"Q{i}?"), response="a") for i in range(40)]
    base = make.model(path=str(folder))
    session.add(Alias(name="champion", model_id=base.id))
    return {
        "base": base.id,
        "reward": make.model(ModelKind.REWARD, path=str(folder)).id,
        "gone": make.model(path=str(folder / "gone")).id,
        "demonstrations": make.dataset(DatasetKind.DEMONSTRATIONS, demonstrations).id,
        "rankings": make.dataset(DatasetKind.RANKINGS, [ranking(i) for i in range(30)]).id,
        "few": make.dataset(DatasetKind.PREFERENCES, [ranking(i) for i in range(3)]).id,
        "ties": make.dataset(DatasetKind.RANKINGS, [ranking(i, tie=True) for i in range(30)]).id,
        "prompts": make.dataset(DatasetKind.PROMPTS, [Prompt.from_text(f"P{i}?") for i in range(10)]).id,
        "project": make.project().id,
        "asks nothing": make.project(forms=[]).id,
        "nothing": uuid.uuid4(),
    }


@pytest.fixture
def body(things: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`body("reward", rankings={"dataset": "few"})`: a good job with parts replaced; words name things."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return str(things[value]) if value in things else value

    good: dict[str, Any] = {
        "sft": {"model": {"model": "base"}, "demonstrations": {"dataset": "demonstrations"}},
        "sample": {"models": [{"model": "base"}], "prompts": {"dataset": "prompts"}},
        "reward": {"model": {"model": "base"}, "rankings": {"dataset": "rankings"}},
        "ppo": {"model": {"model": "base"}, "reward_model": {"model": "reward"}, "prompts": {"dataset": "prompts"}},
    }

    def make(stage: str, config: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
        merged = {key: named(value) for key, value in (good[stage] | inputs).items()}
        return {"stage": stage, "inputs": merged, "config": config or {}}

    return make


Body = Callable[..., dict[str, Any]]


def counts(session: Session) -> tuple[int, int]:
    return tuple(session.scalar(select(func.count()).select_from(t)) or 0 for t in (Job, Snapshot))  # type: ignore[return-value]


@pytest.mark.parametrize("stage", ["sft", "sample", "reward", "ppo"])
def test_a_job_is_queued_with_everything_resolved(as_: As, body: Body, session: Session, stage: str) -> None:
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/jobs", json=body(stage))
    assert answer.status_code == 202, answer.text
    row = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{row['id']}"
    assert (row["stage"], row["state"], row["attempts"], row["needs"]) == (stage, "queued", 0, [])
    assert row["config"] == CONFIGS[Stage(stage)]().model_dump(mode="json")
    data = {"sft": "demonstrations", "reward": "rankings"}.get(stage, "prompts")
    snapshot = session.get_one(Snapshot, uuid.UUID(row["inputs"][data]["snapshot"]))
    assert snapshot.rows == {"sft": 40, "reward": 30}.get(stage, 10)
    assert client.get(f"/v1/jobs/{row['id']}").json() == row


def test_an_alias_is_what_it_stands_for_now(as_: As, body: Body, things: dict[str, Any]) -> None:
    row = as_(Role.ENGINEER).post("/v1/jobs", json=body("sft", model={"alias": "champion"})).json()
    assert row["inputs"]["model"] == {"model": str(things["base"])}


def test_an_edge_blocks_the_job(as_: As, body: Body, session: Session) -> None:
    client = as_(Role.ENGINEER)
    sft = client.post("/v1/jobs", json=body("sft")).json()["id"]
    row = client.post("/v1/jobs", json=body("reward", model={"job": sft})).json()
    assert (row["state"], row["needs"], row["inputs"]["model"]) == ("blocked", [sft], {"job": sft})
    assert session.scalar(select(JobDependency.needs_id)) == uuid.UUID(sft)


def test_prompts_come_from_data_of_any_kind(as_: As, body: Body, session: Session) -> None:
    client = as_(Role.ENGINEER)
    for source in ("rankings", "demonstrations"):
        row = client.post("/v1/jobs", json=body("ppo", prompts={"dataset": source})).json()
        assert session.get_one(Snapshot, uuid.UUID(row["inputs"]["prompts"]["snapshot"])).kind == "prompts"
    frozen = client.post("/v1/jobs", json=body("reward")).json()["inputs"]["rankings"]["snapshot"]
    row = client.post("/v1/jobs", json=body("ppo", prompts={"snapshot": frozen})).json()
    snapshot = session.get_one(Snapshot, uuid.UUID(row["inputs"]["prompts"]["snapshot"]))
    assert (snapshot.kind, snapshot.rows) == ("prompts", 30)


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    # stage, inputs, config, pointer, a word
    ("sft", {}, {"learning_rte": 1}, "/config/learning_rte", "Did you mean 'learning_rate'"),
    ("sft", {}, {"learning_rate": -1}, "/config/learning_rate", "greater than 0"),
    ("sft", {}, {"batch_size": -4}, "/config/batch_size", "greater than or equal to 1"),
    ("sft", {}, {"lora": {"rnk": 4}}, "/config/lora/rnk", "Did you mean 'rank'"),
    ("sft", {}, {"batch_size": 10, "micro_batch_size": 4}, "/config", "multiple"),
    ("ppo", {}, {"kl_coef": -0.1}, "/config/kl_coef", "greater than or equal to 0"),
    ("sft", {"modl": {"model": "base"}}, {}, "/inputs/modl", "Did you mean 'model'"),
    ("sft", {"model": {"model": "nothing"}}, {}, "/inputs/model", "no such model"),
    ("sft", {"model": {"model": "no id"}}, {}, "/inputs/model/model", "UUID"),
    ("sft", {"model": {}}, {}, "/inputs/model", "exactly one"),
    ("sft", {"model": {"model": "base", "alias": "champion"}}, {}, "/inputs/model", "exactly one"),
    ("sft", {"model": {"alias": "nobody"}}, {}, "/inputs/model", "no such alias"),
    ("sft", {"model": {"job": "nothing"}}, {}, "/inputs/model", "no such job"),
    ("sft", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("sft", {"model": {"model": "gone"}}, {}, "/inputs/model", "folder"),
    ("reward", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("ppo", {"reward_model": {"model": "base"}}, {}, "/inputs/reward_model", "reward model is needed"),
    ("ppo", {"model": {"model": "reward"}}, {}, "/inputs/model", "base or policy or sft"),
    ("sft", {"demonstrations": {"dataset": "nothing"}}, {}, "/inputs/demonstrations", "no such data set"),
    ("sft", {"demonstrations": {"snapshot": "nothing"}}, {}, "/inputs/demonstrations", "no such snapshot"),
    ("sft", {"demonstrations": {"project": "project"}}, {}, "/inputs/demonstrations", "no better answers"),
    ("sft", {"demonstrations": {"dataset": "rankings"}}, {}, "/inputs/demonstrations", "holds rankings"),
    ("reward", {"rankings": {"dataset": "demonstrations"}}, {}, "/inputs/rankings", "holds demonstrations"),
    ("reward", {"rankings": {"dataset": "few"}}, {}, "/inputs/rankings", "at least 8"),
    ("reward", {"rankings": {"dataset": "ties"}}, {}, "/inputs/rankings", "Only 0 rankings"),
    ("reward", {}, {"heldout_fraction": 0.999999}, "/inputs/rankings", "Only 0 rankings"),
    ("reward", {}, {"heldout_fraction": 1.0}, "/config/heldout_fraction", "less than 1"),
    ("ppo", {}, {"max_length": 64, "max_response_length": 64}, "/config", "below max_length (64)"),
    ("reward", {"rankings": {"project": "project"}}, {}, "/inputs/rankings", "no judgements"),
    ("reward", {"rankings": {"project": "nothing"}}, {}, "/inputs/rankings", "no such project"),
    ("sample", {"models": []}, {}, "/inputs/models", "at least 1"),
    ("sample", {"models": [{"model": "base"}, {"model": "reward"}]}, {}, "/inputs/models/1", "reward model"),
    ("sample", {"project": "nothing"}, {}, "/inputs/project", "no such project"),
    (
        "sample",
        {"project": "project", "models": [{"model": "base"}, {"model": "base"}]},
        {"responses_per_prompt": 5},
        "/config/responses_per_prompt",
        "10 responses; a person ranks at most 9. At most 4 fit",
    ),
    (
        "sample",
        {"project": "project", "models": [{"model": "base"}] * 10},
        {"responses_per_prompt": 1},
        "/config/responses_per_prompt",
        "Name fewer models",
    ),
    ("sample", {"project": "asks nothing"}, {}, "/inputs/project", "does not ask for rankings"),
]


@pytest.mark.parametrize(("stage", "inputs", "config", "pointer", "word"), REFUSED)
def test_a_job_that_cannot_work_is_refused_at_the_door(
    as_: As,
    body: Body,
    session: Session,
    stage: str,
    inputs: dict[str, Any],
    config: dict[str, Any],
    pointer: str,
    word: str,
) -> None:
    client = as_(Role.ENGINEER)
    request = body(stage, config, **inputs)
    answer = client.post("/v1/jobs", json=request)
    assert answer.status_code == 422, answer.text
    found = {problem["pointer"]: problem["message"] for problem in answer.json()["errors"]}
    assert pointer in found, found
    assert word in found[pointer]
    assert counts(session) == (0, 0)
    dry = client.post("/v1/jobs:validate", json=request).json()
    assert (dry["ok"], dry["estimate"]) == (False, None)
    assert pointer in {problem["pointer"] for problem in dry["problems"]}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"stage": "sftt"}, "/stage"),
        ({"preset": "toyy"}, "/preset"),
        ({"gpus": -1}, "/gpus"),
        ({"gpus": 2}, "/gpus"),
        ({"priority": 10**6}, "/priority"),
        ({"inptus": {}}, "/inptus"),
    ],
)
def test_the_body_around_is_checked_too(as_: As, body: Body, change: dict[str, Any], pointer: str) -> None:
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body("sft") | change)
    assert answer.status_code == 422
    assert pointer in {problem["pointer"] for problem in answer.json()["errors"]}


WEAK = {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.47, "heldout_accuracy_high": 0.63}
WHY = {"accept_reward_model": "Only to see where it leads."}


@pytest.mark.parametrize("known", ["registry", "folder", "job"])
def test_a_reward_model_that_the_gate_refuses_needs_a_reason(
    as_: As, body: Body, make: Any, session: Session, tmp_path: Path, known: str
) -> None:
    """Whether the registry knows its numbers, its folder does, or the job that made it."""
    folder = tmp_path / "weak"
    folder.mkdir()
    model = make.model(ModelKind.REWARD, path=str(folder), metrics=WEAK if known == "registry" else {})
    reference = {"model": str(model.id)}
    if known == "folder":
        (folder / "reward_report.json").write_text(json.dumps({"metrics": WEAK}))
    if known == "job":
        job = make.job(Stage.REWARD)
        job.result = {"metrics": WEAK, "details": {}}
        reference = {"job": str(job.id)}
        session.flush()
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/jobs", json=body("ppo", reward_model=reference))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/inputs/reward_model"
    assert "not above chance" in error["message"]
    assert "accept_reward_model" in error["message"]
    allowed = client.post("/v1/jobs", json=body("ppo", WHY, reward_model=reference))
    assert allowed.status_code == 202, allowed.text
    assert allowed.json()["config"]["accept_reward_model"] == WHY["accept_reward_model"]


def test_a_report_that_cannot_be_read_is_a_problem_of_the_reward_model(
    as_: As, body: Body, make: Any, tmp_path: Path
) -> None:
    (tmp_path / "reward_report.json").write_text("{")
    model = make.model(ModelKind.REWARD, path=str(tmp_path))
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body("ppo", reward_model={"model": str(model.id)}))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/inputs/reward_model")


def test_a_reward_model_of_which_nothing_is_known_passes_unless_the_gate_is_set_otherwise(as_: As, body: Body) -> None:
    client = as_(Role.ENGINEER)
    assert client.post("/v1/jobs", json=body("ppo")).status_code == 202
    assert client.post("/v1/jobs", json=body("ppo", {"gate": {"unmeasured": "refuse"}})).status_code == 422


@pytest.mark.parametrize(("project", "responses"), [("project", 9), (None, 64)])
def test_tasks_as_large_as_a_person_can_rank_are_allowed(
    as_: As, body: Body, project: str | None, responses: int
) -> None:
    models = [{"model": "base"}] * (1 if project else 2)  # a file of responses is no task and has no such limit
    request = body("sample", {"responses_per_prompt": responses}, models=models, project=project)
    assert as_(Role.ENGINEER).post("/v1/jobs", json=request).status_code == 202


def test_every_problem_is_told_at_once(as_: As, body: Body) -> None:
    request = body("ppo", {"gamma": 2, "updats": 1}, model={"model": "nothing"}, prompts={"dataset": "nothing"})
    problems = as_(Role.ENGINEER).post("/v1/jobs", json=request).json()["errors"]
    assert {p["pointer"] for p in problems} == {
        "/config/gamma", "/config/updats", "/inputs/model", "/inputs/prompts",
    }  # fmt: skip


def test_a_dry_run_tells_steps_and_disk_and_creates_nothing(as_: As, body: Body, session: Session) -> None:
    client = as_(Role.ENGINEER)
    config = {"epochs": 2, "batch_size": 16, "micro_batch_size": 8}
    dry = client.post("/v1/jobs:validate", json=body("sft", config)).json()
    assert (dry["ok"], dry["problems"]) == (True, [])
    estimate = dry["estimate"]
    assert (estimate["rows"], estimate["steps"], estimate["disk_bytes"], estimate["gpus"]) == (40, 5, 1000, 1)
    assert estimate["config"]["batch_size"] == 16
    draws = client.post("/v1/jobs:validate", json=body("sample", {"batch_size": 8})).json()["estimate"]
    assert draws["steps"] == 10  # 10 prompts x 4 responses x 2 draws, 8 at a time
    assert counts(session) == (0, 0)


def test_a_preset_lies_under_the_given_settings(as_: As, body: Body) -> None:
    row = as_(Role.ENGINEER).post("/v1/jobs", json={**body("ppo", {"seed": 7}), "preset": "toy"}).json()
    assert row["config"] == load_preset("toy", Stage.PPO, {"seed": 7}).model_dump(mode="json")


def test_a_full_queue_says_so(as_: As, body: Body, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 1)
    client = as_(Role.ENGINEER)
    assert client.post("/v1/jobs", json=body("sft")).status_code == 202
    answer = client.post("/v1/jobs", json=body("reward"))
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:rankloop:queue-full")
    assert int(answer.headers["retry-after"]) > 0
    assert counts(session) == (1, 1)


def test_one_key_makes_one_job(as_: As, body: Body, session: Session) -> None:
    client, headers = as_(Role.ENGINEER), {"Idempotency-Key": "k"}
    first, second = (client.post("/v1/jobs", json=body("sft"), headers=headers).json() for _ in range(2))
    assert first["id"] == second["id"]
    assert counts(session)[0] == 1


def test_the_list_is_filtered_and_paged(as_: As, make: Any) -> None:
    jobs = [make.job(stage) for stage in (Stage.SFT, Stage.REWARD, Stage.SFT)]
    client = as_(Role.REVIEWER)
    newest_first = [str(job.id) for job in reversed(jobs)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    rest = client.get("/v1/jobs", params={"limit": 2, "cursor": first["next"]}).json()
    assert [row["id"] for row in first["items"] + rest["items"]] == newest_first
    assert rest["next"] is None
    stages = client.get("/v1/jobs", params={"stage": "reward"}).json()["items"]
    assert [row["id"] for row in stages] == [str(jobs[1].id)]
    assert client.get("/v1/jobs", params={"state": ["failed", "running"]}).json()["items"] == []


# ---------------------------------------------------------------- cancel and retry


@pytest.mark.parametrize("verb", ["retry", "resume"])
def test_a_waiting_job_is_cancelled_at_once_with_those_behind_it(as_: As, make: Any, verb: str) -> None:
    first = make.job()
    behind = make.job(Stage.REWARD, needs=[first.id])
    client = as_(Role.ENGINEER)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{first.id}:cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert client.get(f"/v1/jobs/{behind.id}").json()["state"] == "cancelled"
    retried = client.post(f"/v1/jobs/{first.id}:{verb}")
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    assert client.post(f"/v1/jobs/{first.id}:{verb}").json()["state"] == "queued"
    assert client.get(f"/v1/jobs/{behind.id}").json()["state"] == "blocked"


def test_a_running_job_is_asked_to_stop(as_: As, make: Any, session: Session) -> None:
    job = running(session, make)
    client = as_(Role.ENGINEER)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job.id}:cancel")
        assert answer.status_code == 202
        assert (answer.json()["state"], answer.json()["cancel_requested"]) == ("running", True)


def test_what_succeeded_is_not_retried(as_: As, make: Any, session: Session) -> None:
    job = succeeded(session, make)
    answer = as_(Role.ENGINEER).post(f"/v1/jobs/{job.id}:retry")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:not-retried")


def test_a_failed_job_cannot_be_built_on(as_: As, make: Any, body: Body, session: Session) -> None:
    job = running(session, make)
    job_store.fail(session, job.id, job.epoch, Failure(ErrorKind.DIVERGED, "The loss is NaN."), Again.NEVER)
    client = as_(Role.ENGINEER)
    answer = client.post("/v1/jobs", json=body("reward", model={"job": str(job.id)}))
    assert answer.status_code == 422
    assert "failed" in answer.json()["errors"][0]["message"]
    assert client.get(f"/v1/jobs/{job.id}").json()["error"]["kind"] == "diverged"


@pytest.mark.parametrize("verb", [":cancel", ":retry", "/metrics", "/artifacts", "/checkpoints", "/events", ""])
def test_an_unknown_job_is_404(as_: As, verb: str) -> None:
    client = as_(Role.ENGINEER)
    method = client.post if verb.startswith(":") else client.get
    assert method(f"/v1/jobs/{uuid.uuid4()}{verb}").status_code == 404


def test_annotators_see_no_jobs_and_reviewers_change_none(as_: As, make: Any, body: Body) -> None:
    job = make.job()
    assert as_(Role.ANNOTATOR).get("/v1/jobs").status_code == 403
    reviewer = as_(Role.REVIEWER)
    assert reviewer.get(f"/v1/jobs/{job.id}").status_code == 200
    assert reviewer.post(f"/v1/jobs/{job.id}:cancel").status_code == 403
    assert reviewer.post("/v1/jobs", json=body("sft")).status_code == 403


# ---------------------------------------------------------------- what a job leaves


def running(session: Session, make: Any) -> Job:
    make.job()
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.mark_running(session, job.id, job.epoch)
    return job


def succeeded(session: Session, make: Any, home: Path | None = None) -> Job:
    """A job that reported 10 steps and left a file."""
    job = running(session, make)
    steps = [Event.progress(Progress("train", i, 10, 2.0, 1.0, {"loss": 1.0 / i})) for i in range(1, 11)]
    job_store.append_events(session, job.id, job.epoch, [*steps, Event.note("Nearly done.")])
    if home is not None:
        folder = home / "artifacts" / str(job.id) / str(job.epoch)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"0123456789")
        (folder / "secret").symlink_to("/etc/passwd")
    job_store.mark_committing(session, job.id, job.epoch)
    return job_store.commit_success(
        session,
        job.id,
        job.epoch,
        result={"metrics": {"loss": 0.1}, "details": {}},
        artifacts=[ArtifactFile(name, "0" * 64, 10) for name in ("model.safetensors", "secret", "gone")],
        model=NewModel("sft-1", ModelKind.SFT, "/models/sft-1", "0" * 64),
        checkpoints=[NewCheckpoint(5, {"loss": 0.2}, False), NewCheckpoint(10, {"loss": 0.1}, True)],
    )


def test_metrics_are_series_thinned_on_request(as_: As, make: Any, session: Session) -> None:
    job, client = succeeded(session, make), as_(Role.REVIEWER)
    (series,) = client.get(f"/v1/jobs/{job.id}/metrics").json()
    assert (series["phase"], series["name"]) == ("train", "loss")
    assert series["points"] == [[i, 1.0 / i] for i in range(1, 11)]

    def steps(**query: Any) -> list[int]:
        found = client.get(f"/v1/jobs/{job.id}/metrics", params=query).json()
        return [step for step, _ in found[0]["points"]] if found else []

    assert steps(points=4) == [1, 4, 7, 10]
    assert steps(points=1) == [10]
    assert steps(after_step=8) == [9, 10]
    assert steps(name="kl") == steps(phase="rollout") == []


def test_checkpoints_tell_which_was_kept(as_: As, make: Any, session: Session) -> None:
    job = succeeded(session, make)
    rows = as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/checkpoints").json()
    assert [(row["step"], row["metrics"], row["chosen"]) for row in rows] == [
        (5, {"loss": 0.2}, False),
        (10, {"loss": 0.1}, True),
    ]


def test_artifacts_are_listed_and_served_in_ranges(as_: As, app: FastAPI, make: Any, session: Session) -> None:
    job = succeeded(session, make, app.state.settings.home)
    client, place = as_(Role.REVIEWER), f"/v1/jobs/{job.id}/artifacts"
    assert [row["name"] for row in client.get(place).json()] == ["gone", "model.safetensors", "secret"]
    assert client.get(f"{place}/model.safetensors").content == b"0123456789"
    part = client.get(f"{place}/model.safetensors", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")


@pytest.mark.parametrize(
    ("name", "status"),
    [("secret", 410), ("gone", 410), ("config.json", 404), ("../../etc/passwd", 404), ("%2e%2e%2fmodel", 404)],
)
def test_nothing_but_committed_files_is_served(
    as_: As, app: FastAPI, make: Any, session: Session, name: str, status: int
) -> None:
    job = succeeded(session, make, app.state.settings.home)
    assert as_(Role.REVIEWER).get(f"/v1/jobs/{job.id}/artifacts/{name}").status_code == status
