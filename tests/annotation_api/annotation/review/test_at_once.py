"""The lists of the quality desk ask for what they show at once, not row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.annotation.tasks import contents
from annotation_api.db.tables import GoldItem, GoldUse, Project, Role, Task

As = Callable[..., TestClient]
MANY = 30


@pytest.fixture
def tasks(session: Session, make: Any, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Each judged by one person; nothing of them is in memory."""
    project: Project = make.project()
    found = [make.task(make.prompt(project, f"{n}?")) for n in range(MANY)]
    for task in found:
        make.submission(task, [[0], [1]])
    session.commit()
    monkeypatch.setattr(contents, "_contents", contents.Contents())
    return found


def test_a_page_of_answers(session: Session, as_: As, tasks: list[Task], statements: Any) -> None:
    client, url = as_(Role.ENGINEER), f"/v1/projects/{tasks[0].project_id}/answers"
    session.expunge_all()
    with statements() as asked:
        items = client.get(url, params={"limit": MANY}).json()["items"]
    assert {item["prompt"]["messages"][0]["content"] for item in items} == {f"{n}?" for n in range(MANY)}
    assert len(asked) < MANY


def test_the_list_of_gold_items(session: Session, make: Any, as_: As, tasks: list[Task], statements: Any) -> None:
    project, owner = tasks[0].project_id, make.person(Role.ENGINEER)
    for task in tasks:
        wanted = {"order": [[str(key)] for key in make.response_ids(task)]}
        values = {"project_id": project, "overlap": 1, "made_by": owner.id, "why": "So.", "use": GoldUse.MIXED}
        session.add(GoldItem(task_id=task.id, expected=wanted, **values))
    session.commit()
    client, pseudonym = as_(Role.ENGINEER), owner.pseudonym
    session.expunge_all()
    with statements() as asked:
        items = client.get(f"/v1/projects/{project}/gold").json()["items"]
    assert {item["prompt"]["messages"][0]["content"] for item in items} == {f"{n}?" for n in range(MANY)}
    assert {item["made_by"] for item in items} == {pseudonym}
    assert len(asked) < MANY
