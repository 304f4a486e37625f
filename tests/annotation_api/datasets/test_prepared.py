"""A preparation from the door of the queue to a new data set and back: shown first, kept when asked, undone."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from alignment.shared.events import NullReporter
from alignment.shared.stages import Teacher
from annotation_api.datasets.formats.reading import Reading
from annotation_api.db.jobs import store as job_store
from annotation_api.db.tables import Job, Project, Role
from annotation_api.settings import Settings
from tests.workers.instruct.service import serving
from tests.workers.instruct.test_work import SEEDS
from workers.attempt.commit import commit, publish
from workers.attempt.inputs import resolve
from workers.stage.kinds import run_job
from workers.staging import Folders

As = Callable[..., TestClient]
ROWS = [
    {"prompt": "Name a tree.", "chosen": "Oak, a@example.com", "rejected": "Sand."},
    {"prompt": "Name a tree. ", "chosen": "OAK,  a@example.com", "rejected": "sand."},
    {"prompt": "Name a sea.", "chosen": "The Red Sea.", "rejected": "A brick."},
]


def imported(client: TestClient, rows: list[Any], kind: str = "preferences") -> str:
    data = b"\n".join(json.dumps(row).encode() for row in rows)
    made = client.post("/v1/datasets", files={"file": ("pairs.jsonl", data)}, data={"kind": kind})
    assert made.status_code == 201, made.text
    return str(made.json()["dataset"])


def asked(dataset: str, **config: Any) -> dict[str, Any]:
    return {"stage": "prepare", "inputs": {"records": {"dataset": dataset}}, "config": config}


def carried_out(session: Session, settings: Settings, **beside: Any) -> Job:
    """The next job, done as its launcher does it."""
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    folders = Folders(settings.home.resolve(), job.id, job.epoch)
    folders.inputs.mkdir(parents=True)
    folders.out.mkdir()
    resolved = resolve(session, job, folders.inputs)
    inputs = resolved.inputs(lambda model, commit: commit) | beside
    result = run_job(job.stage, job.config, inputs, folders.out, NullReporter())
    job_store.mark_running(session, job.id, job.epoch)
    job_store.mark_committing(session, job.id, job.epoch)
    commit(session, folders, resolved, publish(folders, job.config, result), result)
    return job


@pytest.fixture
def settings(app: Any) -> Settings:
    found: Settings = app.state.settings
    return found


def test_shown_then_kept_then_undone(as_: As, session: Session, settings: Settings, engine: Engine) -> None:
    engineer = as_(Role.ENGINEER)
    source = imported(engineer, ROWS)
    made = engineer.post("/v1/jobs", json=asked(source, duplicates="exact", personal="mask"))
    assert (made.status_code, made.json()["gpus"]) == (202, 0), made.text
    body = {"job": made.json()["id"]}
    early = engineer.post("/v1/datasets:from-preparation", json=body)
    assert (early.status_code, "nothing to keep" in early.text) == (422, True)
    carried_out(session, settings)
    job = engineer.get(f"/v1/jobs/{body['job']}").json()
    report = job["result"]["details"]["preparation"]
    assert [(step["step"], step["before"], step["after"], step["changed"]) for step in report["steps"]] == [
        ("personal data", 3, 3, 2),
        ("duplicates", 3, 2, 0),
    ]
    assert len(engineer.get("/v1/datasets").json()["items"]) == 1  # nothing was written
    with engine.connect() as other:  # the same button, pressed a moment before
        other.execute(select(func.pg_advisory_lock(uuid.UUID(body["job"]).int >> 65)))
        second = engineer.post("/v1/datasets:from-preparation", json=body)
        assert (second.status_code, second.json()["type"]) == (409, "urn:rankloop:keeping")
        other.execute(select(func.pg_advisory_unlock_all()))
    kept = engineer.post("/v1/datasets:from-preparation", json=body)
    assert kept.status_code == 201, kept.text
    dataset = kept.json()
    assert (dataset["kind"], dataset["name"], dataset["accepted"]) == ("preferences", "pairs.jsonl, prepared", 2)
    assert dataset["origin"]["sources"] == {"datasets": [source]}
    rows = engineer.get(f"/v1/datasets/{dataset['id']}/rows").json()["items"]
    assert rows[0]["record"]["responses"] == ["Oak, [email 1]", "Sand."]
    assert engineer.post("/v1/datasets:from-preparation", json=body).status_code == 409
    assert engineer.delete(f"/v1/datasets/{source}").status_code == 409  # imported
    assert engineer.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    assert engineer.get(f"/v1/datasets/{dataset['id']}").status_code == 404
    assert engineer.get(f"/v1/datasets/{source}").json()["accepted"] == 3


def test_what_is_prepared_from_a_closed_project_stays_in_it(
    as_: As, person: Any, session: Session, settings: Settings, make: Any
) -> None:
    owner = person(Role.ENGINEER)
    client, stranger = as_(owner), as_(Role.ENGINEER)
    project = client.post("/v1/projects", json={"name": "closed", "open": False}).json()["id"]
    made = make.task(make.prompt(session.get_one(Project, uuid.UUID(project)), "A secret question?"), overlap=3)
    make.submission(made, [[0], [1]])
    frozen = client.post("/v1/snapshots", json={"project": project, "kind": "rankings"}).json()["id"]
    job = client.post("/v1/jobs", json=asked("") | {"inputs": {"records": {"snapshot": frozen}}}).json()["id"]
    carried_out(session, settings)
    kept = client.post("/v1/datasets:from-preparation", json={"job": job})
    assert kept.status_code == 201, kept.text
    place = f"/v1/datasets/{kept.json()['id']}"
    assert stranger.get(f"{place}/rows").status_code == 404
    assert stranger.get("/v1/datasets").json()["items"] == []
    assert client.get(f"{place}/rows").status_code == 200
    assert kept.json()["project_id"] == project


def test_what_is_in_use_cannot_be_undone_and_keeps_its_lineage(as_: As, session: Session, settings: Settings) -> None:
    engineer = as_(Role.ENGINEER)
    made = engineer.post("/v1/jobs", json=asked(imported(engineer, ROWS), personal="mask"))
    carried_out(session, settings)
    dataset = engineer.post("/v1/datasets:from-preparation", json={"job": made.json()["id"]}).json()["id"]
    frozen = engineer.post("/v1/snapshots", json={"dataset": dataset, "kind": "preferences"}).json()["id"]
    exported = engineer.get(f"/v1/snapshots/{frozen}/export").content
    (first, *_) = [item.record for item in Reading(io.BytesIO(exported), "preferences")]
    assert first.lineage["dataset"] == dataset  # type: ignore[attr-defined]
    assert len(first.lineage["original"]) == 64  # type: ignore[attr-defined]
    refused = engineer.delete(f"/v1/datasets/{dataset}")
    assert (refused.status_code, frozen in refused.text) == (409, True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"inputs": {"records": {"project": str(uuid.UUID(int=1))}}}, "/inputs/records"),
        ({"inputs": {}}, "/inputs/records"),
        ({"gpus": 1}, "/gpus"),
        ({"config": {"duplicates": "fuzzy"}}, "/config/duplicates"),
        ({"config": {"min_characters": 9, "max_characters": 3}}, "/config"),
        ({"config": {"weights": {"en": 0}}}, "/config/weights/en"),
    ],
)
def test_the_door_names_what_is_wrong(as_: As, body: dict[str, Any], pointer: str) -> None:
    engineer = as_(Role.ENGINEER)
    answer = engineer.post("/v1/jobs", json=asked(imported(engineer, ROWS)) | body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_evaluation_prompts_are_left_out(as_: As, session: Session, settings: Settings) -> None:
    engineer = as_(Role.ENGINEER)
    prompts = imported(engineer, [{"prompt": "name a SEA."}], "prompts")
    body = asked(imported(engineer, ROWS))
    body["inputs"]["evaluation"] = {"dataset": prompts}
    made = engineer.post("/v1/jobs", json=body)
    assert made.status_code == 202, made.text
    carried_out(session, settings)
    report = engineer.get(f"/v1/jobs/{made.json()['id']}").json()["result"]["details"]["preparation"]
    assert report["steps"][0]["left_out"] == {"asks what an evaluation prompt asks": 1}


def test_the_page_prepares_shows_keeps_and_undoes(
    as_: As, browser_of: Any, session: Session, settings: Settings
) -> None:
    engineer, browser = as_(Role.ENGINEER), browser_of(Role.ENGINEER)
    source = imported(engineer, ROWS)
    assert "Prepare for training" in browser.get(f"/datasets/{source}").text
    queued = browser.post(f"/datasets/{source}/prepare", data={"personal": "mask", "duplicates": "near"})
    assert queued.status_code == 303, queued.text
    carried_out(session, settings)
    shown = browser.get(queued.headers["location"]).text
    assert "3 records before, 2 after" in shown
    assert "[email 1]" in shown
    kept = browser.post(f"{queued.headers['location']}/keep")
    page = browser.get(kept.headers["location"]).text
    assert "Undo the preparation" in page
    assert browser.post(f"{kept.headers['location']}/undo").headers["location"] == "/datasets"
    assert browser.get(kept.headers["location"]).status_code == 404


def test_instructions_become_prompts(as_: As, app: FastAPI, session: Session, settings: Settings) -> None:
    teachers = ("ours=http://10.0.0.5:8000/v1",)
    app.state.settings = Settings(database_url=settings.database_url, home=settings.home, teachers=teachers)
    engineer = as_(Role.ENGINEER)
    rows = [{"instruction": text, "output": "x"} for text in SEEDS]
    seeds = imported(engineer, rows, "demonstrations")
    body: dict[str, Any] = {"stage": "instruct", "inputs": {"seeds": {"dataset": seeds}}}
    config = {"teacher": "ours", "teacher_model": "m", "count": 3, "makes": "prompts"}
    nobody = engineer.post("/v1/jobs", json=body)
    assert (nobody.status_code, "Nobody answers" in nobody.text) == (422, True)
    half = engineer.post("/v1/jobs", json=body | {"config": {"teacher": "ours"}})
    assert (half.status_code, "go together" in half.text) == (422, True)
    other = engineer.post("/v1/jobs", json=body | {"config": config | {"teacher": "theirs"}}).json()["errors"]
    assert [(one["pointer"], one["value"]) for one in other] == [("/config/teacher", "theirs")]
    assert "Allowed are: ours." in other[0]["message"]
    made = engineer.post("/v1/jobs", json=body | {"config": config})
    assert (made.status_code, made.json()["gpus"]) == (202, 0), made.text
    with serving() as service:
        carried_out(session, settings, teacher=Teacher(url=service.url))
    kept = engineer.post("/v1/datasets:from-preparation", json={"job": made.json()["id"]})
    assert (kept.status_code, kept.json()["kind"], kept.json()["accepted"]) == (201, "prompts", 3), kept.text
    assert kept.json()["format"] == "instructed"
    page = engineer.get(f"/v1/datasets/{kept.json()['id']}").json()
    assert page["origin"]["job"] == made.json()["id"]
