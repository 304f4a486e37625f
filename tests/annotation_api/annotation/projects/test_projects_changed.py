"""Projects changed: their settings, and the versions of their forms."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session

from annotation_api.db.forms import QuestionsForm, RulesForm, read_form
from annotation_api.db.tables import FeedbackKind, Form, Role, Task

PAIR = {
    "kind": "questions",
    "about": "pair",
    "questions": [
        {"id": "same", "text": "Do both say the same?", "kind": "yes_no"},
        {
            "id": "which",
            "text": "Which is more accurate?",
            "kind": "choice",
            "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}],
            "when": {"question": "same", "answers": [False]},
        },
    ],
}


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"kind": "questions", "questions": [{"id": "clear", "text": text, "kind": "yes_no"}], **more}


def test_settings_change_one_by_one(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(overlap=2, daily_limit=7)
    path = f"/v1/projects/{project.id}"
    changed = engineer.patch(path, json={"name": " New ", "lease_seconds": 60, "responses_per_task": 9}).json()
    assert (changed["name"], changed["lease_seconds"], changed["responses_per_task"]) == ("New", 60, 9)
    assert (changed["overlap"], changed["daily_limit"]) == (2, 7)  # not named, not touched
    assert engineer.patch(path, json={"daily_limit": None}).json()["daily_limit"] is None
    assert engineer.patch(path, json={"name": "New"}).status_code == 200  # its own name is not taken


@pytest.mark.parametrize(
    ("patch", "status", "says"),
    [
        ({"name": "Other"}, 409, "choose another name"),
        ({"overlap": 0}, 422, "/overlap"),
        ({"overlap": None}, 422, "null means nothing"),
        ({"overlaps": 2}, 422, "Did you mean 'overlap'?"),
        ({"forms": [question("a"), question("b")]}, 422, "one of each kind"),
        ({"forms": [{"kind": "questions", "questions": []}]}, 422, "questions"),
    ],
)
def test_a_bad_change_is_named_and_nothing_changes(as_, make, patch: dict[str, Any], status: int, says: str) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(name="Mine")
    make.project(name="Other")
    answer = engineer.patch(f"/v1/projects/{project.id}", json=patch)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    now = engineer.get(f"/v1/projects/{project.id}").json()
    assert (now["name"], now["overlap"], len(now["forms"])) == ("Mine", 1, 1)


def test_a_changed_form_is_a_new_version_and_tasks_keep_theirs(as_, make, session: Session) -> None:
    engineer, project = as_(Role.ENGINEER), make.project(forms=[read_form(question("Is it clear?"))])
    old = make.task(make.prompt(project), ("yes",), kind=FeedbackKind.QUESTIONS)
    path = f"/v1/projects/{project.id}"
    for forms in ([question("Is it really clear?")], [question("Is it really clear?")], [PAIR]):
        assert engineer.patch(path, json={"forms": forms}).status_code == 200
    versions = engineer.get(f"{path}/forms").json()["items"]
    assert [(row["version"], row["tasks"], row["newest"]) for row in versions] == [
        (3, 0, True),
        (2, 0, False),  # the same again made none
        (1, 1, False),
    ]
    shown = as_(Role.ANNOTATOR).post(f"{path}/next").json()
    assert shown["form"]["questions"][0]["text"] == "Is it clear?"
    assert session.get_one(Form, session.get_one(Task, old.id).form_id).version == 1


def test_a_second_kind_joins_the_first(as_, make) -> None:
    engineer, project = as_(Role.ENGINEER), make.project()
    rules = {"kind": "rules", "rules": [{"id": "threats", "text": "Make no threats."}]}
    shown = engineer.patch(f"/v1/projects/{project.id}", json={"forms": [rules, PAIR]}).json()
    assert {form["kind"]: form["version"] for form in shown["forms"]} == {"ranking": 1, "questions": 1, "rules": 1}
    assert isinstance(read_form(rules), RulesForm)
    assert isinstance(read_form(PAIR), QuestionsForm)


def test_a_pair_of_one_text_is_nothing_to_compare(as_, make) -> None:
    project = make.project(forms=[read_form(PAIR)])
    task = {"prompt": {"messages": [{"role": "user", "content": "?"}]}, "kind": "questions"}
    answer = as_(Role.ENGINEER).post(
        f"/v1/projects/{project.id}/tasks", json=task | {"responses": [{"text": "same"}, {"text": "same"}]}
    )
    assert "nothing to compare" in answer.json()["detail"]


def test_unknown_projects_are_404(as_) -> None:
    engineer, nowhere = as_(Role.ENGINEER), f"/v1/projects/{uuid.uuid4()}"
    assert engineer.patch(nowhere, json={}).status_code == 404
    assert engineer.get(f"{nowhere}/forms").status_code == 404
    assert engineer.post(f"{nowhere}/tasks:from-dataset", json={"dataset": str(uuid.uuid4())}).status_code == 404
