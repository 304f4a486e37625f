"""A project that is not open, and all that hangs on it, is there for its members and for admins alone.

The walk asks every route that names a thing by its id for things of a closed project: who is no member must get what
somebody gets who names a thing that does not exist, and a list without it. One rule less, and it fails.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db import membership
from annotation_api.db.tables import (
    Comment,
    Dataset,
    DatasetKind,
    Job,
    ModelKind,
    ModelVersion,
    Person,
    Pipeline,
    Project,
    ProjectMember,
    Role,
    Snapshot,
    Submission,
)

As = Callable[..., TestClient]


class Closed:
    """A project that is not open, with data, snapshots, a job that reads one, its model, and an answer."""

    def __init__(self, session: Session, make: Any) -> None:
        owner = make.person()
        self.project: Project = make.project(owner, name="Secret project", open=False)
        self.task = make.task(make.prompt(self.project, "A secret question?"), overlap=5)
        self.author: Person = make.person(Role.ANNOTATOR)
        self.submission: Submission = make.submission(self.task, [[0], [1]], self.author)
        shown = [Demonstration(prompt=Prompt.from_text("A secret question?"), response="a secret answer")]
        self.dataset: Dataset = make.dataset(DatasetKind.DEMONSTRATIONS, shown)
        self.dataset.project_id, self.dataset.name = self.project.id, "secret.jsonl"
        self.snapshots = [self._snapshot(session, sources) for sources in self._sources()]
        reads = {"snapshot": str(self.snapshots[0].id)}
        self.job: Job = make.job(Stage.SFT, inputs={"model": {"model": str(make.model().id)}, "demonstrations": reads})
        self.pipeline = Pipeline(spec={}, created_by=owner.id)
        session.add(self.pipeline)
        session.flush()
        self.job.pipeline_id = self.pipeline.id
        fields = {"name": "secret model", "snapshot_id": self.snapshots[0].id, "job_id": self.job.id}
        self.model: ModelVersion = make.model(ModelKind.SFT, **fields)
        session.flush()

    def _sources(self) -> list[dict[str, Any]]:
        return [{"project": str(self.project.id)}, {"datasets": [str(self.dataset.id)]}]

    def _snapshot(self, session: Session, sources: dict[str, Any]) -> Snapshot:
        row = Snapshot(
            kind=DatasetKind.RANKINGS, sources=sources, sha256=uuid.uuid4().hex * 2, rows=0,
            created_by=self.project.created_by,
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row

    def ids(self) -> dict[str, list[uuid.UUID]]:
        return {
            "project_id": [self.project.id],
            "dataset_id": [self.dataset.id],
            "snapshot_id": [row.id for row in self.snapshots],
            "job_id": [self.job.id],
            "model_id": [self.model.id],
            "pipeline_id": [self.pipeline.id],
            "submission_id": [self.submission.id],
            "answer_id": [self.submission.id],
            "task_id": [self.task.id],
        }


@pytest.fixture
def closed(session: Session, make: Any) -> Closed:
    return Closed(session, make)


@pytest.fixture
def member(session: Session, closed: Closed) -> Callable[[Person], Person]:
    def join(person: Person) -> Person:
        session.add(ProjectMember(project_id=closed.project.id, person_id=person.id))
        session.flush()
        return person

    return join


LISTS = ("/v1/projects", "/v1/datasets", "/v1/snapshots", "/v1/jobs", "/v1/models", "/", "/datasets", "/snapshots",
         "/jobs", "/models", "/projects/new")  # fmt: skip
NAMED = (
    "/v1/projects/{project_id}", "/v1/projects/{project_id}/tasks", "/v1/projects/{project_id}/forms",
    "/v1/projects/{project_id}/members", "/v1/projects/{project_id}/agreement", "/v1/projects/{project_id}/reliability",
    "/projects/{project_id}/agreement", "/v1/datasets/{dataset_id}", "/v1/datasets/{dataset_id}/rows",
    "/v1/datasets/{dataset_id}/derived", "/v1/snapshots/{snapshot_id}", "/v1/snapshots/{snapshot_id}/export",
    "/v1/snapshots/{snapshot_id}/derived", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/metrics",
    "/v1/jobs/{job_id}/attempts", "/v1/jobs/{job_id}/log", "/v1/jobs/{job_id}/checkpoints",
    "/v1/jobs/{job_id}/win_rate", "/v1/jobs/{job_id}/artifacts", "/v1/models/{model_id}",
    "/v1/models/{model_id}/lineage", "/v1/models/{model_id}/derived", "/v1/submissions/{submission_id}",
    "/projects/{project_id}", "/projects/{project_id}/edit", "/datasets/{dataset_id}", "/snapshots/{snapshot_id}",
    "/v1/pipelines/{pipeline_id}", "/pipelines/{pipeline_id}",
    "/jobs/{job_id}", "/models/{model_id}", "/projects/{project_id}/tasks", "/projects/{project_id}/members",
    "/jobs/{job_id}/again", "/jobs/{job_id}/curves", "/projects/{project_id}/review",
    "/projects/{project_id}/review/annotators", "/projects/{project_id}/review/disputed",
    "/projects/{project_id}/review/gold", "/projects/{project_id}/review/hours", "/v1/projects/{project_id}/annotators",
    "/v1/projects/{project_id}/answers", "/v1/projects/{project_id}/disputed", "/v1/projects/{project_id}/gold",
    "/v1/projects/{project_id}/hours", "/v1/projects/{project_id}/quality", "/v1/projects/{project_id}/signals",
    "/v1/projects/{project_id}/answers/{answer_id}", "/v1/projects/{project_id}/tasks/{task_id}/answers",
    "/projects/{project_id}/review/answers/{answer_id}", "/projects/{project_id}/review/tasks/{task_id}",
)  # fmt: skip
SECRET = re.compile("[Ss]ecret")
TABLE = Path(__file__).parents[2] / "permissions.txt"


def paths(closed: Closed) -> Iterator[str]:
    for pattern in NAMED:
        ids = closed.ids()
        names = re.findall(r"\{(\w+)\}", pattern)
        for keys in zip(*(ids[name] for name in names), strict=True):
            yield pattern.format_map(dict(zip(names, keys, strict=True)))


def test_every_route_that_names_such_a_thing_is_walked(closed: Closed) -> None:
    """What a route to one's own claims and answers gives is asked below."""
    known = {*NAMED, "/v1/jobs/{job_id}/artifacts/{name:path}", "/jobs/{job_id}/report"}  # files: there are none
    known.add("/projects/{project_id}/tasks/{task_id}")  # tests/annotation_api/web/projects/test_owner_pages.py
    lines = [line.split() for line in TABLE.read_text().splitlines() if line.startswith("GET ")]
    paths = {path for _, path, *_ in lines if "#" not in path and not path.endswith(("/annotate", "/correct"))}
    assert {path for path in paths if any(f"{{{name}}}" in path for name in closed.ids())} - known == set()


@pytest.mark.parametrize("role", [Role.ENGINEER, Role.REVIEWER])
def test_who_is_no_member_sees_nothing_of_it(as_: As, closed: Closed, role: Role) -> None:
    client = as_(role)
    assert {path for path in LISTS if SECRET.search(client.get(path).text)} == set()
    for path in paths(closed):
        if not path.endswith("/events"):
            assert client.get(path).status_code in (404, 403), path
    assert client.get(f"/v1/jobs/{closed.job.id}/events").status_code == 404
    assert client.get("/v1/submissions", params={"project": str(closed.project.id)}).json()["items"] == []
    assert client.get("/v1/pipelines").json()["items"] == []


def test_members_and_admins_see_it(as_: As, closed: Closed, member: Any, person: Any) -> None:
    for client in (as_(member(person(Role.ENGINEER))), as_(Role.ADMIN)):
        assert client.get("/v1/projects").json()["items"][0]["open"] is False
        for path in paths(closed):
            if not path.endswith("/events"):
                assert client.get(path).status_code == 200, path
        found = client.get("/v1/submissions", params={"project": str(closed.project.id)}).json()["items"]
        assert [row["id"] for row in found] == [str(closed.submission.id)]


@pytest.mark.parametrize("kind", list(membership.RULES), ids=lambda kind: kind.__name__)
def test_the_walk_notices_a_rule_that_is_missing(
    as_: As, closed: Closed, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.delitem(membership.RULES, kind)
    client = as_(Role.ENGINEER)
    assert any(client.get(path).status_code == 200 for path in paths(closed) if not path.endswith("/events"))


def test_an_annotator_claims_only_where_they_belong(
    as_: As, browser_of: As, closed: Closed, member: Any, person: Any
) -> None:
    stranger, place = person(Role.ANNOTATOR), f"/v1/projects/{closed.project.id}/next"
    pages = [f"/projects/{closed.project.id}{end}" for end in ("", "/annotate", "/correct")]
    assert as_(stranger).post(place).status_code == 404
    assert [browser_of(stranger).get(path).status_code for path in pages] == [404] * 3
    assert "Secret" not in browser_of(stranger).get("/").text
    member(stranger)
    assert as_(stranger).post(place).status_code == 200
    assert browser_of(stranger).get(pages[1]).status_code == 200


def test_who_is_let_out_adds_no_answer_and_no_word(
    as_: As, browser_of: As, closed: Closed, member: Any, person: Any, session: Session
) -> None:
    """Their tab is still open, and places are free."""
    someone, project = member(person(Role.ANNOTATOR)), f"/v1/projects/{closed.project.id}"
    client = as_(someone)
    held = client.post(f"{project}/next").json()
    place = f"/v1/assignments/{held['assignment']}"
    session.add(
        Comment(assignment_id=uuid.UUID(held["assignment"]), author_id=closed.author.id, text="Secret word", asks=False)
    )
    session.flush()
    assert client.get("/v1/me/waiting").json()["items"]
    assert as_(Role.ADMIN).delete(f"{project}/members/{someone.id}").status_code == 204
    groups = [[response["id"]] for response in held["responses"]]
    sent = {"id": str(uuid.uuid4()), "assignment": held["assignment"], "payload": {"groups": groups}}
    assert client.post("/v1/submissions", json=sent).status_code == 404
    assert client.post(f"{place}:renew").status_code in (404, 409)
    assert client.post(f"{place}/comments", json={"text": "let me in"}).status_code == 404
    assert client.get(f"{place}/comments").status_code == 404
    assert client.get("/v1/me/waiting").json()["items"] == []
    assert "What waits for you: 0" in browser_of(someone).get("/").text
    assert browser_of(someone).get(f"/threads/{held['assignment']}").status_code == 404


def test_nothing_of_it_is_changed_frozen_or_trained_on_by_others(as_: As, closed: Closed) -> None:
    client, project = as_(Role.ENGINEER), str(closed.project.id)
    task = {"prompt": {"messages": [{"role": "user", "content": "?"}]}, "responses": [{"text": "a"}, {"text": "b"}]}
    sft = {"stage": "sft", "inputs": {"model": {"model": str(uuid.uuid4())}}}
    codes = [
        client.patch(f"/v1/projects/{project}", json={"open": True}).status_code,
        client.post(f"/v1/projects/{project}/tasks", json=task).status_code,
        client.post(f"/v1/projects/{project}/tasks:from-dataset", json={"dataset": str(closed.dataset.id)}).status_code,
        client.post(f"/v1/projects/{project}/members", json={"person": str(closed.author.id)}).status_code,
        client.delete(f"/v1/projects/{project}/members/{closed.project.created_by}").status_code,
        client.post(f"/v1/jobs/{closed.job.id}:cancel").status_code,
    ]
    assert codes == [404] * 6
    for source in ({"project": project}, {"dataset": str(closed.dataset.id)}):
        body = {**source, "kind": "rankings" if "project" in source else "demonstrations"}
        assert client.post("/v1/snapshots", json=body).status_code in (404, 422)
    for data in ({"project": project}, {"dataset": str(closed.dataset.id)}, {"snapshot": str(closed.snapshots[0].id)}):
        body = {**sft, "inputs": {**sft["inputs"], "demonstrations": data}}
        answer = client.post("/v1/jobs:validate", json=body)
        assert "secret" not in answer.text.lower()
        assert not answer.json().get("ok", False)
    csv = {"file": ("a.csv", b"prompt,chosen,rejected\nQ?,4,5\n")}
    refused = client.post("/v1/datasets", data={"kind": "preferences", "project": project}, files=csv)
    unknown = client.post("/v1/datasets", data={"kind": "preferences", "project": str(uuid.uuid4())}, files=csv)
    assert (refused.status_code, refused.json()["type"]) == (unknown.status_code, unknown.json()["type"])


def test_a_name_is_taken_also_by_a_project_that_one_does_not_see(as_: As, closed: Closed) -> None:
    assert as_(Role.ENGINEER).post("/v1/projects", json={"name": "Secret project"}).status_code == 409


def test_projects_are_open_unless_they_are_made_closed(as_: As, person: Any, session: Session) -> None:
    engineer = person(Role.ENGINEER)
    client, other = as_(engineer), as_(Role.ENGINEER)
    made = [client.post("/v1/projects", json=body).json() for body in ({"name": "a"}, {"name": "b", "open": False})]
    assert [project["open"] for project in made] == [True, False]
    assert [other.get(f"/v1/projects/{project['id']}").status_code for project in made] == [200, 404]
    assert client.get(f"/v1/projects/{made[1]['id']}").status_code == 200  # who makes one is a member
    assert client.patch(f"/v1/projects/{made[0]['id']}", json={"open": False}).json()["open"] is False
    assert other.get(f"/v1/projects/{made[0]['id']}").status_code == 404
    assert client.patch(f"/v1/projects/{made[0]['id']}", json={"open": None}).status_code == 422


def test_members_come_and_go(as_: As, person: Any) -> None:
    engineer, newcomer = person(Role.ENGINEER), person(Role.ANNOTATOR)
    client, theirs = as_(engineer), as_(newcomer)
    project = client.post("/v1/projects", json={"name": "b", "open": False}).json()["id"]
    place = f"/v1/projects/{project}/members"
    for named in (str(newcomer.id), newcomer.email.upper(), newcomer.pseudonym):
        answer = client.post(place, json={"person": named})
        assert (answer.status_code, answer.json()["id"], answer.json()["name"]) == (201, str(newcomer.id), None)
    assert theirs.get(f"/v1/projects/{project}").status_code == 200
    items = client.get(place).json()["items"]
    assert {item["id"] for item in items} == {str(engineer.id), str(newcomer.id)}
    assert as_(Role.ADMIN).get(place).json()["items"][0]["name"]
    assert client.delete(f"{place}/{newcomer.id}").status_code == 204
    assert client.delete(f"{place}/{newcomer.id}").status_code == 404
    assert theirs.get(f"/v1/projects/{project}").status_code == 404
    unknown = client.post(place, json={"person": "nobody@example.org"})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/person")


def test_a_walk_back_from_a_model_ends_where_one_may_not_look(
    as_: As, closed: Closed, make: Any, session: Session
) -> None:
    """A policy that descends from a model of a closed project."""
    from annotation_api.db.tables import ModelParent

    policy = make.model(ModelKind.POLICY, name="public policy")
    session.add(ModelParent(model_id=policy.id, parent_id=closed.model.id, relation="start"))
    session.flush()
    answer = as_(Role.ENGINEER).get(f"/v1/models/{policy.id}/lineage")
    assert [node["label"] for node in answer.json()["nodes"]] == ["public policy"]
    assert answer.json()["edges"] == []
    seen = as_(Role.ADMIN).get(f"/v1/models/{policy.id}/lineage").json()
    assert "secret model" in [node["label"] for node in seen["nodes"]]


@pytest.mark.parametrize("role", ["verdicts", "project"])
def test_a_model_is_hidden_by_all_that_its_job_read(
    as_: As, closed: Closed, make: Any, member: Any, person: Any, role: str
) -> None:
    """Its own snapshot is everybody's; what else its job read is not."""
    read = str(closed.project.id) if role == "project" else {"snapshot": str(closed.snapshots[0].id)}
    job = make.job(Stage.REWARD, inputs={"model": {"model": str(make.model().id)}, role: read})
    model = make.model(ModelKind.REWARD, name="learned of secrets", job_id=job.id)
    outside, inside = as_(Role.ENGINEER), as_(member(person(Role.ENGINEER)))
    assert (outside.get(f"/v1/models/{model.id}").status_code, inside.get(f"/v1/models/{model.id}").status_code) == (
        404,
        200,
    )
    assert "learned of secrets" not in outside.get("/models", headers={"Accept": "text/html"}).text
    assert "learned of secrets" in inside.get("/models", headers={"Accept": "text/html"}).text


def test_a_session_without_a_viewer_sees_everything(session: Session, closed: Closed) -> None:
    """Workers and commands of the machine work for nobody in particular."""
    assert session.get(Project, closed.project.id) is closed.project
    session.expunge_all()
    assert session.scalars(select(Project).where(Project.id == closed.project.id)).one_or_none() is not None
    session.expunge_all()
    membership.see_as(session, uuid.uuid4(), Role.ENGINEER)
    assert session.get(Project, closed.project.id) is None
    session.info.clear()
