"""Projects and their tasks: made, refused, listed, counted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import PromptRow, ResponseRow, Role, Task


def a_task(question: str = "Why is the sky blue?", *texts: str, **more: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": question}]}
    return {"prompt": prompt, "responses": [{"text": text} for text in texts or ("Rayleigh.", "Magic.")], **more}


def test_a_project_is_made_and_shown(as_) -> None:
    engineer = as_(Role.ENGINEER)
    made = engineer.post("/v1/projects", json={"name": "Politeness", "guidelines": "Be kind.", "overlap": 3})
    assert made.status_code == 201
    project = engineer.get(made.headers["location"]).json()
    assert project["name"] == "Politeness"
    assert project["overlap"] == 3
    assert project["lease_seconds"] == 300
    assert project["progress"] == {"tasks": 0, "wanted": 0, "judged": 0, "left": 0}
    assert engineer.post("/v1/projects", json={"name": "Politeness"}).status_code == 409


def test_tasks_come_singly_or_as_a_list(as_, make, session: Session) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(overlap=2)
    one = engineer.post(f"/v1/projects/{project.id}/tasks", json=a_task())
    assert one.status_code == 201
    both = [a_task(), a_task("你好吗？", "好", "不好", overlap=5)]
    many = engineer.post(f"/v1/projects/{project.id}/tasks", json=both)
    assert len(one.json()["ids"] + many.json()["ids"]) == 3
    assert session.scalar(select(func.count()).select_from(PromptRow)) == 2  # the equal prompt has one row
    assert session.scalar(select(func.count()).select_from(ResponseRow)) == 6
    listed = engineer.get(f"/v1/projects/{project.id}/tasks").json()["items"]
    assert {item["prompt"]["messages"][0]["content"] for item in listed} == {"Why is the sky blue?", "你好吗？"}
    assert engineer.get(f"/v1/projects/{project.id}").json()["progress"]["wanted"] == 2 + 2 + 5


@pytest.mark.parametrize(
    ("task", "pointer", "says"),
    [
        (a_task("?", "same", "same"), "/0/responses", "nothing to rank"),
        ({**a_task(), "prompt": {"messages": []}}, "/0/prompt/messages", "At least 1 must be given"),
        (
            {**a_task(), "prompt": {"messages": [{"role": "user", "content": "?"}], "langauge": "en"}},
            "/0/prompt/langauge",
            "Did you mean 'language'?",
        ),
        (
            {**a_task(), "responses": [{"text": "a", "model": str(uuid.UUID(int=7))}, {"text": "b"}]},
            "/0/responses/0/model",
            "no such model",
        ),
        ({**a_task(), "responses": [{"text": "a"}]}, "/0/responses", "at least 2 responses"),
    ],
)
def test_a_bad_task_is_named_and_nothing_is_stored(
    as_, make, session: Session, task: dict[str, Any], pointer: str, says: str
) -> None:
    answer = as_(Role.ENGINEER).post(f"/v1/projects/{make.project().id}/tasks", json=[task, a_task()])
    assert answer.status_code == 422
    problem = answer.json()["errors"][0]
    assert problem["pointer"] == pointer
    assert says in problem["message"]
    assert session.scalar(select(func.count()).select_from(Task)) == 0


def test_model_names_are_for_engineers(as_, make) -> None:
    project, model = make.project(), make.model()
    task = a_task()
    task["responses"][0]["model"] = str(model.id)
    as_(Role.ENGINEER).post(f"/v1/projects/{project.id}/tasks", json=task)
    path = f"/v1/projects/{project.id}/tasks"
    assert str(model.id) in as_(Role.ENGINEER).get(path).text
    assert str(model.id) not in as_(Role.REVIEWER).get(path).text
    assert str(model.id) not in as_(Role.ANNOTATOR).post(f"/v1/projects/{project.id}/next").text


def test_names_are_for_admins_and_counts_by_person_not_for_annotators(as_, make, person) -> None:
    project, annotator = make.project(), person(Role.ANNOTATOR)
    task = make.task(make.prompt(project))
    make.submission(task, [[0], [1]], annotator)
    path = f"/v1/projects/{project.id}"
    assert as_(Role.ADMIN).get(path).json()["people"] == [
        {"pseudonym": annotator.pseudonym, "name": annotator.name, "judged": 1, "skipped": 0}
    ]
    assert as_(Role.ENGINEER).get(path).json()["people"][0]["name"] is None
    assert as_(annotator).get(path).json()["people"] is None
    assert as_(annotator).get(path).json()["progress"] == {"tasks": 1, "wanted": 1, "judged": 1, "left": 0}


def test_an_unknown_project_is_404(as_) -> None:
    assert as_(Role.ENGINEER).get(f"/v1/projects/{uuid.uuid4()}").status_code == 404
    assert as_(Role.ANNOTATOR).post(f"/v1/projects/{uuid.uuid4()}/next").status_code == 404
