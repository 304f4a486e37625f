"""What a client of the REST API may rely on beside the answers themselves: types, addresses, tags, honest refusals."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from annotation_api.db.jobs import store as job_store
from annotation_api.db.tables import Alias, Job, JobState, ModelVersion, Role
from tests.annotation_api.jobs.conftest import body, things
from tests.support.jobs import As, Body, running, succeeded

__all__ = ["body", "things"]  # fixtures
PROBLEM = "application/problem+json"


# ---------------------------------------------------------------- what a request may look like


def test_a_form_where_a_file_is_wanted_is_another_content_type(as_: As) -> None:
    """It was a fault of ours: its body had been read when it was to be hashed."""
    answer = as_(Role.ENGINEER).post("/v1/datasets", data={"kind": "rankings", "file": "x"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)
    assert answer.json()["detail"] == (
        "This path takes multipart/form-data; application/x-www-form-urlencoded was sent."
    )
    assert answer.headers["accept-post"] == "multipart/form-data"


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate", "/v1/pipelines", "/v1/models", "/v1/projects"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_body_of_another_type_is_refused_by_name(as_: As, path: str, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = as_(Role.ENGINEER).post(path, content=b'{"name": "x"}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:rankloop:wrong-content-type")


def test_json_by_another_name_is_json(as_: As) -> None:
    headers = {"Content-Type": "application/problem+json; charset=utf-8"}
    answer = as_(Role.ENGINEER).post("/v1/projects", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("GET", "/v1/jobs?states=running", "Did you mean 'state'?"),
        ("GET", "/v1/models?kind=base&zzz=2", "It has: cursor, kind, limit, name, tag."),
        ("GET", "/v1/me?x=1", "It has: none."),
        ("POST", "/v1/jobs?dry_run=true", "It has: none."),
        ("POST", f"/v1/projects/{uuid.UUID(int=1)}/next?beside=1", "Did you mean 'besides'?"),
    ],
)
def test_a_parameter_that_a_path_does_not_have_is_refused(as_: As, method: str, path: str, hint: str) -> None:
    answer = as_(Role.ADMIN).request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:rankloop:unknown-parameter")
    assert hint in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs?limit=1&limit=2", 400),
        ("/v1/jobs?state=running&state=failed", 200),
        ("/v1/jobs?cursor=&cursor=", 400),
    ],
)
def test_a_parameter_says_one_thing(as_: As, path: str, status: int) -> None:
    answer = as_(Role.ADMIN).get(path)
    assert answer.status_code == status
    assert status == 200 or answer.json()["type"] == "urn:rankloop:ambiguous-parameter"


@pytest.mark.parametrize(
    "path",
    ["/v1/audit", f"/v1/projects/{uuid.UUID(int=1)}/answers", f"/v1/projects/{uuid.UUID(int=1)}/hours"],
)
@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", ["-1", "0", "1764489600", "1e9", "20261130", ""])
def test_a_time_is_written_out(as_: As, path: str, name: str, value: str) -> None:
    """A number would be seconds, or milliseconds, of an age that nobody named."""
    answer = as_(Role.ADMIN).get(path, params={name: value})
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert (problem["pointer"], problem["value"]) == (f"query:{name}", value)
    assert "2026-11-30T09:30:00Z" in problem["message"]


def test_a_time_in_a_body_is_written_out(as_: As, make: Any) -> None:
    project = make.project()
    body = {"since": 0, "until": 4102444800}
    answer = as_(Role.ADMIN).post(f"/v1/projects/{project.id}/tasks:remove", json=body)
    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["errors"]] == ["/since", "/until"]


LISTS = "projects tasks jobs pipelines datasets snapshots models people api-keys submissions answers"


def test_a_cursor_of_another_list_is_none_of_this_one(as_: As, make: Any) -> None:
    project = make.project()
    make.project()
    client, inside = as_(Role.ADMIN), ("tasks", "answers")
    cursor = client.get("/v1/projects", params={"limit": 1}).json()["next"]
    assert client.get("/v1/projects", params={"cursor": cursor}).status_code == 200
    for name in LISTS.split()[1:]:
        path = f"/v1/projects/{project.id}/{name}" if name in inside else f"/v1/{name}"
        answer = client.get(path, params={"cursor": cursor})
        assert answer.status_code == 422, name
        assert answer.json()["errors"][0]["pointer"] == "query:cursor"


def test_a_host_that_is_not_ours_is_told_as_every_error_is(as_: As) -> None:
    answer = as_(Role.ADMIN).get("/v1/me", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert answer.json()["type"] == "urn:rankloop:unknown-host"


SENT = [
    ({"priority": "high"}, "/priority", "high"),
    ({"priority": 0.5}, "/priority", 0.5),
    ({"config": True}, "/config", True),
    ({"gpus": None}, "/gpus", None),
    ({"gpus": [1]}, "/gpus", ""),
    ({"config": {"batch_size": "many"}}, "/config/batch_size", "many"),
    ({"config": {"learning_rate": -1}}, "/config/learning_rate", -1),
    ({"config": {"seed": 10**400}}, "/config/seed", "a number with many digits"),
    ({"config": {"gradient_checkpointing": "it's"}}, "/config/gradient_checkpointing", "it's"),
    ({"preset": "toyy"}, "/preset", "toyy"),
]


@pytest.mark.parametrize(("change", "pointer", "value"), SENT)
def test_a_wrong_value_is_shown_as_it_was_sent(
    as_: As, body: Body, change: dict[str, Any], pointer: str, value: object
) -> None:
    problems = as_(Role.ENGINEER).post("/v1/jobs", json=body("sft") | change).json()["errors"]
    found = {problem["pointer"]: problem["value"] for problem in problems}
    assert found[pointer] == value
    assert type(found[pointer]) is type(value)


# ---------------------------------------------------------------- what an answer tells


def test_a_page_says_where_the_next_one_is(as_: As, make: Any) -> None:
    for _ in range(5):
        make.model()
    client, seen, path = as_(Role.ENGINEER), [], "/v1/models?limit=2&kind=base"
    while path:
        answer = client.get(path)
        seen += [row["id"] for row in answer.json()["items"]]
        link = answer.headers.get("link", "")
        assert bool(link) == bool(answer.json()["next"])
        path = link and re.fullmatch(r'<(/v1/models\?.*)>; rel="next"', link)[1]  # type: ignore[index]
    assert len(seen) == len(set(seen)) == 5


def test_whatever_is_made_has_an_address(as_: As, body: Body) -> None:
    client = as_(Role.ENGINEER)
    project = client.post("/v1/projects", json={"name": "p"})
    task = {"prompt": {"messages": [{"role": "user", "content": "q"}]}, "responses": [{"text": "a"}, {"text": "b"}]}
    for answer in (
        project,
        client.post(f"{project.headers['location']}/tasks", json=[task]),
        client.post("/v1/jobs", json=body("sft")),
        client.post("/v1/api-keys", json={"name": "k"}),
    ):
        assert client.get(answer.headers["location"]).status_code == 200, answer.request.url


def test_who_has_an_answer_gets_it_once(as_: As, make: Any) -> None:
    client, path = as_(Role.ENGINEER), f"/v1/models/{make.model().id}"
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = client.get(path, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.json()) == (200, first.json())
    schema = client.get("/openapi.json")
    assert client.get("/openapi.json", headers={"If-None-Match": schema.headers["etag"]}).status_code == 304
    assert "etag" not in client.get("/v1/models/none").headers


def test_a_file_can_be_asked_about_and_a_bad_range_is_told_as_every_error_is(
    as_: As, session: Session, make: Any, app: FastAPI
) -> None:
    job = succeeded(session, make, app.state.settings.home)
    client, path = as_(Role.ENGINEER), f"/v1/jobs/{job.id}/artifacts/model.safetensors"
    asked, got = client.head(path), client.get(path)
    assert (asked.status_code, asked.content, got.content) == (200, b"", b"0123456789")
    for name in ("etag", "content-length", "repr-digest", "accept-ranges"):
        assert asked.headers[name] == got.headers[name]
    assert client.get(path, headers={"Range": "bytes=2-4"}).content == b"234"
    for given, status in (("bytes=50-", 416), ("lines=1-2", 400), ("bytes=4-2", 400), ("bytes", 400)):
        answer = client.get(path, headers={"Range": given})
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), given
        assert answer.json()["status"] == status
    assert client.get(path, headers={"Range": "bytes=50-"}).headers["content-range"] == "bytes */10"


# ---------------------------------------------------------------- what can be asked for


@pytest.mark.parametrize("verb", ["/v1/jobs", "/v1/jobs:validate"])
def test_the_door_refuses_what_the_launcher_would(as_: As, body: Body, verb: str) -> None:
    """One function for both: `alignment.shared.gpus`."""
    wish = body("sft", {"batch_size": 16, "micro_batch_size": 8}) | {"gpus": 4}
    answer = as_(Role.ENGINEER).post(verb, json=wish).json()
    (problem,) = answer["problems" if verb.endswith("validate") else "errors"]
    assert (problem["pointer"], problem["value"]) == ("/gpus", 4)
    assert "batch_size (16) cannot be shared by 4 GPUs that take micro_batch_size (8) each." in problem["message"]
    assert "Make batch_size a multiple of 32" in problem["message"]


def test_a_pipeline_refuses_it_too(as_: As, things: dict[str, Any], session: Session) -> None:
    wish = {
        "model": {"model": str(things["base"])},
        "demonstrations": {"dataset": str(things["demonstrations"])},
        "preferences": {"dataset": str(things["rankings"])},
        "config": {"reward": {"batch_size": 16, "micro_batch_size": 8}},
        "gpus": 4,
    }
    answer = as_(Role.ENGINEER).post("/v1/pipelines", json=wish)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/gpus")
    assert session.query(Job).count() == 0


def test_what_has_succeeded_cannot_be_cancelled(as_: As, session: Session, make: Any) -> None:
    job = succeeded(session, make)
    client = as_(Role.ENGINEER)
    answer = client.post(f"/v1/jobs/{job.id}:cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rankloop:not-cancelled")
    waiting = make.job()
    for _ in range(2):
        assert client.post(f"/v1/jobs/{waiting.id}:cancel").json()["state"] == "cancelled"


def test_an_alias_can_be_taken_away(as_: As, make: Any, session: Session) -> None:
    client, model = as_(Role.ENGINEER), make.model()
    assert client.put("/v1/aliases/champion", json={"model": str(model.id)}).status_code == 200
    assert client.delete("/v1/aliases/champion").status_code == 204
    assert session.get(Alias, "champion") is None
    assert client.delete("/v1/aliases/champion").status_code == 404
    assert client.get(f"/v1/models/{model.id}").status_code == 200


def pipeline(client: Any, things: dict[str, Any]) -> dict[str, Any]:
    wish = {
        "model": {"model": str(things["base"])},
        "demonstrations": {"dataset": str(things["demonstrations"])},
        "preferences": {"dataset": str(things["rankings"])},
    }
    made: dict[str, Any] = client.post("/v1/pipelines", json=wish).json()
    return made


def states(shown: dict[str, Any]) -> list[str]:
    return [job["state"] for job in shown["jobs"]]


def test_a_pipeline_can_be_paused_and_goes_on(as_: As, things: dict[str, Any], session: Session) -> None:
    client = as_(Role.ENGINEER)
    path = f"/v1/pipelines/{pipeline(client, things)['id']}"
    for _ in range(2):
        answer = client.post(f"{path}:pause")
        assert (answer.status_code, states(answer.json())) == (200, ["paused"] * 3)
    assert states(client.post(f"{path}:resume").json()) == ["queued", "blocked", "blocked"]
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    job_store.mark_running(session, job.id, job.epoch)
    answer = client.post(f"{path}:pause")
    assert (answer.status_code, states(answer.json())) == (202, ["running", "paused", "paused"])
    assert [one["pause_requested"] for one in answer.json()["jobs"]] == [True, False, False]
    assert states(client.post(f"{path}:resume").json()) == ["running", "blocked", "blocked"]


def test_a_pipeline_that_has_ended_can_be_neither_paused_nor_cancelled(
    as_: As, things: dict[str, Any], session: Session
) -> None:
    client = as_(Role.ENGINEER)
    key = pipeline(client, things)["id"]
    session.query(Job).filter(Job.pipeline_id == uuid.UUID(key)).update({Job.state: JobState.SUCCEEDED})
    for verb, kind in (("pause", "not-paused"), ("cancel", "not-cancelled"), ("resume", "not-resumed")):
        answer = client.post(f"/v1/pipelines/{key}:{verb}")
        assert (answer.status_code, answer.json()["type"]) == (409, f"urn:rankloop:{kind}")
    key = pipeline(client, things)["id"]
    client.post(f"/v1/pipelines/{key}:cancel")
    assert client.post(f"/v1/pipelines/{key}:pause").status_code == 409


def test_a_running_job_that_is_cancelled_twice_is_asked_once(as_: As, session: Session, make: Any) -> None:
    job = running(session, make)
    client = as_(Role.ENGINEER)
    assert [client.post(f"/v1/jobs/{job.id}:cancel").status_code for _ in range(2)] == [202, 202]


def test_a_folder_is_registered_once(as_: As, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/models/base")
    monkeypatch.setattr("annotation_api.models.folders.resolve", lambda path, settings: str(folder))
    monkeypatch.setattr("annotation_api.models.folders.manifest_hash", lambda path: None)
    client = as_(Role.ENGINEER)
    first = client.post("/v1/models", json={"name": "one", "path": "base"})
    again = client.post("/v1/models", json={"name": "two", "path": str(folder)}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert again.headers["location"] == first.headers["location"]
    replay = client.post("/v1/models", json={"name": "two", "path": str(folder)}, headers={"Idempotency-Key": "k"})
    assert (replay.status_code, replay.headers["idempotent-replayed"]) == (200, "true")
    monkeypatch.setattr("annotation_api.models.folders.manifest_hash", lambda path: "1" * 64)  # it has changed
    assert client.post("/v1/models", json={"name": "one", "path": "base"}).status_code == 201
    assert session.query(ModelVersion).count() == 2
