"""However many tasks are asked about at once, a statement has few parameters, and a page asks for few statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.orm import Session

from annotation_api.annotation.projects import bulk
from annotation_api.annotation.tasks import removal
from annotation_api.annotation.tasks.removal import TaskFilter
from annotation_api.db.tables import Project, Role, Task

As = Callable[..., TestClient]
MANY = 30


@contextmanager
def statements(session: Session) -> Iterator[list[int]]:
    """How many parameters each statement has."""
    asked: list[int] = []
    listener = lambda *call: asked.append(len(call[3]))  # noqa: E731
    event.listen(session.connection(), "before_cursor_execute", listener)
    yield asked
    event.remove(session.connection(), "before_cursor_execute", listener)


@pytest.fixture
def filled(make: Any) -> tuple[Project, list[Task]]:
    """Some tasks in hands, the others fresh."""
    project: Project = make.project()
    tasks = [make.task(make.prompt(project, f"{n}?"), overlap=3) for n in range(MANY)]
    for task in tasks[::2]:
        make.submission(task, [[0], [1]])
    return project, tasks


def test_a_choice_of_any_size_is_one_parameter(session: Session, filled: tuple[Project, list[Task]]) -> None:
    """Postgres takes 65,535 in a statement; a fill may be larger."""
    project, tasks = filled
    choice, keys = TaskFilter(project.id), [task.id for task in tasks]
    with statements(session) as asked:
        assert bulk.known(session, keys) == set(keys)
        gone = removal.remove(session, choice)
        back = removal.bring_back(session, choice)
    assert (gone.deleted, gone.kept, back) == (MANY // 2, MANY // 2, MANY // 2)
    assert max(asked) < MANY // 2
    session.expire_all()
    left = bulk.known(session, keys)
    assert left == {task.id for task in tasks[::2]}
    assert {session.get_one(Task, key).overlap for key in left} == {3}


def test_a_page_of_tasks_asks_for_their_prompts_at_once(
    session: Session, as_: As, filled: tuple[Project, list[Task]]
) -> None:
    project, _ = filled
    client = as_(Role.ENGINEER)
    session.expunge_all()
    with statements(session) as asked:
        items = client.get(f"/v1/projects/{project.id}/tasks", params={"limit": MANY}).json()["items"]
    assert len({item["prompt"]["messages"][0]["content"] for item in items}) == MANY
    assert len(asked) < MANY
