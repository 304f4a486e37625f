"""Judgements: checked against the task, stored once, corrected by a successor, never changed."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import Assignment, AssignmentState, Role, Submission


@pytest.fixture
def project(make) -> Any:
    project = make.project()
    make.task(make.prompt(project), ("best", "good", "bad"), overlap=2)
    return project


def take(client, project) -> dict[str, Any]:
    return client.post(f"/v1/projects/{project.id}/next").json()


def body(task: dict[str, Any], groups: list[list[str]] | None = None, **more: Any) -> dict[str, Any]:
    ids = [[response["id"]] for response in task["responses"]]
    payload = {"groups": ids if groups is None else groups, **more.pop("payload", {})}
    return {"id": str(uuid.uuid4()), "assignment": task["assignment"], "kind": "ranking", "payload": payload} | more


def test_a_ranking_with_a_tie_is_stored(as_, project, session: Session) -> None:
    annotator = as_(Role.ANNOTATOR)
    task = take(annotator, project)
    a, b, c = (response["id"] for response in task["responses"])
    sent = body(task, [[b], [c, a]], payload={"strength": 3, "all_bad": True, "note": "hm"}, active_ms=1500)
    answer = annotator.post("/v1/submissions", json=sent)
    assert answer.status_code == 201
    assert answer.json()["payload"] == {"groups": [[b], [c, a]], "strength": 3, "all_bad": True, "note": "hm"}
    assert answer.json()["current"] is True
    assert session.get_one(Assignment, uuid.UUID(task["assignment"])).state == AssignmentState.SUBMITTED
    assert annotator.get(f"/v1/submissions/{sent['id']}").json() == answer.json()


def test_a_retry_is_the_same_submission(as_, project, session: Session) -> None:
    annotator = as_(Role.ANNOTATOR)
    sent = body(take(annotator, project))
    first, again = (annotator.post("/v1/submissions", json=sent) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert session.scalar(select(func.count()).select_from(Submission)) == 1
    changed = annotator.post("/v1/submissions", json={**sent, "payload": {**sent["payload"], "all_bad": True}})
    assert changed.status_code == 409
    assert changed.json()["type"] == "urn:rankloop:submission-id-taken"


def test_another_person_cannot_use_the_id_or_the_assignment(as_, project) -> None:
    one, two = as_(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    sent = body(take(one, project))
    assert two.post("/v1/submissions", json=sent).status_code == 404
    one.post("/v1/submissions", json=sent)
    assert two.post("/v1/submissions", json=sent).status_code == 409
    assert two.get(f"/v1/submissions/{sent['id']}").status_code == 404


def test_a_second_answer_to_a_task_must_supersede(as_, project) -> None:
    annotator = as_(Role.ANNOTATOR)
    task = take(annotator, project)
    first = body(task)
    annotator.post("/v1/submissions", json=first)
    second = annotator.post("/v1/submissions", json=body(task))
    assert second.status_code == 409
    assert first["id"] in second.json()["detail"]


def test_a_correction_supersedes_and_keeps_the_old_row(as_, project) -> None:
    annotator = as_(Role.ANNOTATOR)
    task = take(annotator, project)
    first = body(task)
    annotator.post("/v1/submissions", json=first)
    turned = body(task, list(reversed(first["payload"]["groups"])), supersedes=first["id"])
    assert annotator.post("/v1/submissions", json=turned).status_code == 201
    listed = {row["id"]: row for row in annotator.get("/v1/submissions").json()["items"]}
    assert listed[first["id"]]["current"] is False
    assert listed[first["id"]]["payload"] == first["payload"]
    assert listed[turned["id"]]["current"] is True
    late = annotator.post("/v1/submissions", json=body(task, supersedes=first["id"]))
    assert late.status_code == 409
    assert turned["id"] in late.json()["detail"]


def test_anothers_submission_cannot_be_corrected(as_, project) -> None:
    one, two = as_(Role.ANNOTATOR), as_(Role.ANNOTATOR)
    sent = body(take(one, project))
    one.post("/v1/submissions", json=sent)
    assert two.post("/v1/submissions", json=body(take(two, project), supersedes=sent["id"])).status_code == 404


def test_what_is_wrong_with_a_ranking_is_named(as_, project) -> None:
    annotator = as_(Role.ANNOTATOR)
    task = take(annotator, project)
    a, b, c = (response["id"] for response in task["responses"])
    stranger = str(uuid.uuid4())
    for groups, pointer, value in [
        ([[a], [b]], "/payload/groups", c),
        ([[a], [b], [c, a]], "/payload/groups/2/1", a),
        ([[a], [b, stranger], [c]], "/payload/groups/1/1", stranger),
        ([[a], [], [b, c]], "/payload/groups/1", "empty"),
    ]:
        answer = annotator.post("/v1/submissions", json=body(task, groups))
        assert answer.status_code == 422
        problem = answer.json()["errors"][0]
        assert problem["pointer"] == pointer
        assert value in problem["message"] + problem["value"]
    everything = annotator.post("/v1/submissions", json=body(task, [[a, a], [stranger]])).json()["errors"]
    assert [problem["pointer"] for problem in everything] == [
        "/payload/groups/0/1",
        "/payload/groups/1/0",
        "/payload/groups",
    ]
    assert annotator.post("/v1/submissions", json=body(task)).status_code == 201  # nothing of it was stored


def test_identical_responses_must_be_tied(as_, make) -> None:
    project = make.project()
    make.task(make.prompt(project), ("same", "other", "same"))
    annotator = as_(Role.ANNOTATOR)
    task = take(annotator, project)
    twins = [response["id"] for response in task["responses"] if response["text"] == "same"]
    other = next(response["id"] for response in task["responses"] if response["text"] == "other")
    apart = annotator.post("/v1/submissions", json=body(task, [[twins[0]], [other], [twins[1]]]))
    assert apart.status_code == 422
    assert "identical" in apart.json()["errors"][0]["message"]
    assert annotator.post("/v1/submissions", json=body(task, [twins, [other]])).status_code == 201


@pytest.mark.parametrize("payload", [{"strength": 0}, {"strength": 5}, {"note": "x" * 2001}, {"all_badd": True}])
def test_a_bad_extra_is_refused(as_, project, payload: dict[str, Any]) -> None:
    annotator = as_(Role.ANNOTATOR)
    answer = annotator.post("/v1/submissions", json=body(take(annotator, project), payload=payload))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/payload/{next(iter(payload))}"


def test_an_annotator_sees_own_work_an_engineer_the_projects_by_pseudonym(as_, project, person) -> None:
    one, two = person(Role.ANNOTATOR), person(Role.ANNOTATOR)
    for someone in (one, two):
        client = as_(someone)
        client.post("/v1/submissions", json=body(take(client, project)))
    path = f"/v1/submissions?project={project.id}"
    assert [row["annotator"] for row in as_(one).get(path).json()["items"]] == [one.pseudonym]
    seen = as_(Role.ENGINEER).get(path)
    assert {row["annotator"] for row in seen.json()["items"]} == {one.pseudonym, two.pseudonym}
    assert one.name not in seen.text
    assert as_(Role.ENGINEER).get("/v1/submissions").json()["items"] == []
