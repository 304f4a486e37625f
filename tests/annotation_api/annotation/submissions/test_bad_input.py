"""What clients may send by mistake or malice: refused by field and in words, never a fault of ours."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from annotation_api.db.forms import Question, QuestionsForm
from annotation_api.db.tables import FeedbackKind, Role

NUL, HALF = "\\u0000", "\\ud800"  # as JSON writes them
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def annotator(as_) -> Any:
    return as_(Role.ANNOTATOR)


@pytest.fixture
def task(make, annotator) -> dict[str, Any]:
    project = make.project()
    make.task(make.prompt(project))
    return annotator.post(f"/v1/projects/{project.id}/next").json()


def body(task: dict[str, Any], **payload: Any) -> dict[str, Any]:
    groups = [[response["id"]] for response in task["responses"]]
    return {
        "id": str(uuid.uuid4()),
        "assignment": task["assignment"],
        "kind": task["kind"],
        "payload": {"groups": groups} | payload,
    }


def pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 20_000
    assert answer.json()["detail"]
    return [problem["pointer"] for problem in answer.json()["errors"]]


@pytest.mark.parametrize("bad", [NUL, HALF])
@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"note": "MARK"}, "/payload/note"),
        ({"demonstration": {"text": "MARK"}}, "/payload/demonstration/text"),
        ({"flags": {"KEY": ["MARK"]}}, "/payload/flags/KEY/0"),
        ({"MARK": 1}, None),
    ],
)
def test_characters_that_cannot_be_stored(
    annotator, task: dict[str, Any], bad: str, payload: dict[str, Any], pointer: str | None
) -> None:
    key = task["responses"][0]["id"]
    sent = json.dumps(body(task, **payload)).replace("MARK", f"a{bad}b").replace("KEY", key)
    answer = annotator.post("/v1/submissions", content=sent, headers=JSON)
    found = pointers(answer)
    assert pointer is None or found == [pointer.replace("KEY", key)]
    assert annotator.post("/v1/submissions", json=body(task)).status_code == 201  # nothing of it was stored


@pytest.mark.parametrize("bad", [NUL, HALF])
def test_such_characters_in_an_answer_to_a_question(as_, make, bad: str) -> None:
    form = QuestionsForm(questions=(Question(id="why", text="Why?", kind="text"),))
    project = make.project(forms=[form])
    make.task(make.prompt(project), ("only",), kind=FeedbackKind.QUESTIONS)
    annotator = as_(Role.ANNOTATOR)
    task = annotator.post(f"/v1/projects/{project.id}/next").json()
    sent = json.dumps(body(task) | {"payload": {"answers": {"why": "MARK"}}}).replace("MARK", f"a{bad}b")
    found = pointers(annotator.post("/v1/submissions", content=sent, headers=JSON))
    assert found == ["/payload/answers/why"]


@pytest.mark.parametrize("bad", [NUL, HALF])
@pytest.mark.parametrize("payload", [{"note": "MARK"}, {"MARK": "x"}, {"deep": [{"er": "MARK"}]}])
def test_such_characters_in_a_draft(annotator, task: dict[str, Any], bad: str, payload: dict[str, Any]) -> None:
    sent = json.dumps({"payload": payload}).replace("MARK", f"a{bad}b")
    path = f"/v1/assignments/{task['assignment']}/draft"
    assert pointers(annotator.put(path, content=sent, headers=JSON))[0].startswith("/payload")


@pytest.mark.parametrize("bad", [NUL, HALF])
def test_such_characters_in_a_reason(annotator, task: dict[str, Any], bad: str) -> None:
    path = f"/v1/assignments/{task['assignment']}:skip"
    assert pointers(annotator.post(path, content=f'{{"reason": "a{bad}b"}}', headers=JSON)) == ["/reason"]


def many(count: int) -> dict[str, Any]:
    return {str(uuid.uuid4()): ["pii"] for _ in range(count)}


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"note": "x" * 200_000}, "/payload/note"),
        ({"demonstration": {"text": "x" * 200_001}}, "/payload/demonstration/text"),
        ({"flags": many(1000)}, "/payload/flags"),
        ({"broken": many(1000)}, "/payload/broken"),
        ({"ratings": dict.fromkeys(many(1000), 4)}, "/payload/ratings"),
        ({"groups": [[]] * 3000}, "/payload/groups"),
        ({"groups": [list(many(1000))]}, "/payload/groups/0"),
    ],
)
def test_more_than_a_task_can_hold(annotator, task: dict[str, Any], payload: dict[str, Any], pointer: str) -> None:
    assert pointers(annotator.post("/v1/submissions", json=body(task, **payload))) == [pointer]


def test_four_thousand_unknown_keys_are_told_of_briefly_and_at_once(annotator, task: dict[str, Any]) -> None:
    sent, start = body(task, **{f"key{i}": i for i in range(4000)}), time.process_time()
    answer = annotator.post("/v1/submissions", json=sent)
    assert pointers(answer)
    assert time.process_time() - start < 2
    assert "more" in answer.json()["detail"]


def test_more_values_than_a_body_may_have(annotator, task: dict[str, Any]) -> None:
    answer = annotator.post("/v1/submissions", json=body(task, **{f"key{i}": i for i in range(5000)}))
    assert pointers(answer) == ["/"]
    assert "more than 4096 values, the most that this path takes" in answer.json()["detail"]


@pytest.mark.parametrize("levels", [30, 150, 900, 100_000])
def test_deep_nesting(annotator, task: dict[str, Any], levels: int) -> None:
    deep = "[" * levels + "]" * levels
    for sent, method, path in [
        (json.dumps(body(task, note="MARK")), "POST", "/v1/submissions"),
        ('{"payload": {"x": "MARK"}}', "PUT", f"/v1/assignments/{task['assignment']}/draft"),
    ]:
        answer = annotator.request(method, path, content=sent.replace('"MARK"', deep), headers=JSON)
        assert pointers(answer)[0] in ("/payload/note", "/payload", "/")


@pytest.mark.parametrize(
    ("content", "headers"),
    [(b"", JSON), (b"{", JSON), (b"\xff", JSON), (b"[]", JSON)],
)
def test_a_body_that_is_none(annotator, content: bytes, headers: dict[str, str]) -> None:
    assert pointers(annotator.post("/v1/submissions", content=content, headers=headers))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_draft_with_a_number_that_cannot_be_stored(annotator, task: dict[str, Any], number: str) -> None:
    path = f"/v1/assignments/{task['assignment']}/draft"
    answer = annotator.put(path, content=f'{{"payload": {{"x": [{number}]}}}}', headers=JSON)
    assert pointers(answer) == ["/"]
    assert f"{number} is no number that can be stored" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_a_body_that_is_not_said_to_be_json(annotator, headers: dict[str, str]) -> None:
    answer = annotator.post("/v1/submissions", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:rankloop:wrong-content-type")


def test_a_draft_beyond_its_size(annotator, task: dict[str, Any]) -> None:
    path = f"/v1/assignments/{task['assignment']}/draft"
    assert annotator.put(path, json={"payload": {"note": "x" * 60_000}}).status_code == 204
    assert annotator.put(path, json={"payload": {"note": "字" * 60_000}}).status_code == 422  # three bytes each
    assert pointers(annotator.put(path, json={"payload": {"note": "x" * 200_000}})) == ["/payload"]


def test_ids_that_are_none(annotator) -> None:
    assert pointers(annotator.post("/v1/projects/x/next")) == ["path:project_id"]
    assert pointers(annotator.post(f"/v1/projects/{uuid.uuid4()}/next?besides=x")) == ["query:besides"]
    assert annotator.post(f"/v1/projects/{uuid.uuid4()}/next").status_code == 404


def test_nobody_is_told_what_is_wrong_with_a_body(client) -> None:
    """Who may not do it learns nothing about how it is done."""
    assert client.post("/v1/submissions", content=b"{", headers=JSON).status_code == 401
    assert client.post("/v1/projects/x/next").status_code == 401
