"""What the desk asks of the database for a task and for an answer, counted: it is asked so all day long."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from annotation_api.db.tables import Role

# Who calls, locked; what the person has in hand; the first free task, locked; its texts; the place.
NEXT = 5
SUBMIT = 3  # who calls, locked; the assignment and its task, locked; the answer with all that follows from it


def test_a_task_and_its_answer_take_few_statements(as_: Callable[..., TestClient], make: Any, statements: Any) -> None:
    project = make.project()
    make.task(make.prompt(project, "Why?"), ("because", "so"))
    client = as_(Role.ANNOTATOR)
    with statements() as asked:
        task = client.post(f"/v1/projects/{project.id}/next").json()
    assert count(asked) == NEXT, asked
    answer = {"groups": [[response["id"]] for response in task["responses"]]}
    new = {"id": str(uuid.uuid4()), "assignment": task["assignment"], "kind": "ranking", "payload": answer}
    with statements() as asked:
        answered = client.post("/v1/submissions", json=new | {"active_ms": 900})
    assert answered.status_code == 201, answered.text
    assert count(asked) == SUBMIT, asked


def count(asked: list[str]) -> int:
    """Without those that begin and end a test's transactions."""
    return sum("SAVEPOINT" not in one for one in asked)
