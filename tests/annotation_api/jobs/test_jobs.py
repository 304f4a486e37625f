"""/v1/jobs: what a job row holds, and its list."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import CONFIGS, Stage, load_preset
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    DatasetKind,
    JobDependency,
    Role,
    Snapshot,
)
from tests.support.jobs import As, Body, counts, kinds_of, running


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


@pytest.mark.parametrize("allowed", [True, False])
def test_a_job_says_whether_it_may_use_the_cpu_of_a_cluster(as_: As, body: Body, allowed: bool) -> None:
    answer = as_(Role.ENGINEER).post("/v1/jobs", json=body("sft") | {"gpus": 1, "allow_cpu": allowed})
    assert (answer.status_code, answer.json()["allow_cpu"]) == (202, allowed)


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


def test_a_project_gives_a_reward_job_all_that_was_said_in_it(
    as_: As, body: Body, session: Session, talkative: Any
) -> None:
    client = as_(Role.ENGINEER)
    request = body("reward", rankings={"project": str(talkative.id)})
    estimate = client.post("/v1/jobs:validate", json=request).json()["estimate"]
    assert (estimate["rows"], counts(session)) == (30, (0, 0))
    job = client.post("/v1/jobs", json=request).json()
    held = kinds_of(session, job["inputs"])
    assert held == {"rankings": "rankings", "answers": "answers", "verdicts": "verdicts"}
    again = client.post("/v1/jobs", json=body("reward") | {"inputs": job["inputs"]})
    assert again.json()["inputs"] == job["inputs"]  # as snapshots, one by one


def test_answers_of_elsewhere_go_before_the_projects_own(
    as_: As, body: Body, session: Session, talkative: Any, make: Any
) -> None:
    client = as_(Role.ENGINEER)
    given = {"rankings": {"project": str(talkative.id)}}
    first = client.post("/v1/jobs", json=body("reward", **given)).json()["inputs"]["verdicts"]
    other = Snapshot(kind=DatasetKind.VERDICTS, sources={}, sha256="0" * 64, rows=1, created_by=make.person().id)
    session.add(other)
    session.flush()
    job = client.post("/v1/jobs", json=body("reward", **given, verdicts={"snapshot": str(other.id)})).json()
    assert job["inputs"]["verdicts"] == {"snapshot": str(other.id)} != first


def test_a_project_of_rankings_alone_gives_those_alone(as_: As, body: Body, make: Any, session: Session) -> None:
    project = make.project()
    for number in range(30):
        make.submission(make.task(make.prompt(project, f"Question {number}?")), [[0], [1]])
    job = as_(Role.ENGINEER).post("/v1/jobs", json=body("reward", rankings={"project": str(project.id)})).json()
    assert kinds_of(session, job["inputs"]) == {"rankings": "rankings"}


def test_a_dry_run_tells_steps_and_disk_and_creates_nothing(as_: As, body: Body, session: Session) -> None:
    client = as_(Role.ENGINEER)
    config = {"epochs": 2, "batch_size": 16, "micro_batch_size": 8}
    dry = client.post("/v1/jobs:validate", json=body("sft", config)).json()
    assert (dry["ok"], dry["problems"]) == (True, [])
    estimate = dry["estimate"]
    assert (estimate["rows"], estimate["steps"], estimate["artifact_bytes"], estimate["gpus"]) == (40, 5, 1000, 1)
    assert (estimate["disk_bytes"], estimate["memory"]) == (None, None)  # its files are no model's
    assert estimate["config"]["batch_size"] == 16
    draws = client.post("/v1/jobs:validate", json=body("sample", {"batch_size": 8})).json()["estimate"]
    assert draws["steps"] == 10  # 10 prompts x 4 responses x 2 draws, 8 at a time
    assert counts(session) == (0, 0)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "of which the model's chat template says nothing"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "of which the model's chat template says nothing"),
        ("{{ tools | tojson }}", "where the chat template leaves something of them out"),
    ],
)
def test_a_dry_run_says_how_many_rows_hold_tools(
    written: str | None, said: str, as_: As, body: Body, make: Any, tmp_path: Path
) -> None:
    if written:
        (tmp_path / "tiny" / "tokenizer_config.json").write_text(json.dumps({"chat_template": written}))
    plain, tools = Prompt.from_text("Q?"), ('{"name": "look"}',)
    rows = [Demonstration(prompt=prompt, response="a") for prompt in (plain, plain.model_copy(update={"tools": tools}))]
    given = {"dataset": str(make.dataset(DatasetKind.DEMONSTRATIONS, rows).id)}
    client = as_(Role.ENGINEER)
    (note,) = client.post("/v1/jobs:validate", json=body("sft", demonstrations=given)).json()["estimate"]["notes"]
    assert note.startswith("1 rows hold tools")
    assert said in note
    assert client.post("/v1/jobs:validate", json=body("sft")).json()["estimate"]["notes"] == []


def test_a_preset_lies_under_the_given_settings(as_: As, body: Body) -> None:
    row = as_(Role.ENGINEER).post("/v1/jobs", json={**body("ppo", {"seed": 7}), "preset": "toy"}).json()
    assert row["config"] == load_preset("toy", Stage.PPO, {"seed": 7}).model_dump(mode="json")
    assert row["preset"] == "toy"
    assert as_(Role.ENGINEER).post("/v1/jobs", json=body("sft")).json()["preset"] == "defaults"


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
    both = client.get("/v1/jobs", params={"stage": ["reward", "sft"], "state": ["failed", "queued"]}).json()["items"]
    assert [row["id"] for row in both] == newest_first


def test_the_list_knows_whose_a_job_is(as_: As, make: Any, person: Any) -> None:
    me, other = person(Role.ENGINEER), person(Role.ENGINEER)
    mine, theirs = make.job(created_by=me.id), make.job(created_by=other.id)
    client = as_(me)

    def ids(who: str) -> list[str]:
        return [row["id"] for row in client.get("/v1/jobs", params={"created_by": who}).json()["items"]]

    assert (ids("me"), ids(str(other.id))) == ([str(mine.id)], [str(theirs.id)])
    assert client.get("/v1/jobs", params={"created_by": "you"}).status_code == 422


def test_the_list_leaves_traceback_and_log_to_the_job_itself(as_: As, make: Any, session: Session) -> None:
    job = running(session, make)
    failure = Failure(ErrorKind.INTERNAL, "A fault.", traceback="Traceback ...", log="line")
    job_store.fail(session, job.id, job.epoch, failure, Again.NEVER)
    client = as_(Role.REVIEWER)
    (row,) = client.get("/v1/jobs").json()["items"]
    assert set(row["error"]) == {"kind", "cause", "next_step"}
    assert client.get(f"/v1/jobs/{job.id}").json()["error"]["traceback"] == "Traceback ..."


@pytest.mark.parametrize(
    "verb",
    [
        ":cancel",
        ":retry",
        ":pause",
        ":resume",
        "/metrics",
        "/artifacts",
        "/checkpoints",
        "/events",
        "/attempts",
        "/log",
        "",
    ],
)
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
