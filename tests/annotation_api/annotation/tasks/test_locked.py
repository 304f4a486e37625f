"""A task under its lock is what it is now, not what it was when the request looked at it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.annotation.gold import service as gold
from annotation_api.annotation.gold.expected import Expected
from annotation_api.annotation.gold.schemas import NewGold
from annotation_api.annotation.projects.service import find_project
from annotation_api.annotation.review import service as reviews
from annotation_api.annotation.review.schemas import NewDecision
from annotation_api.annotation.tasks import removal
from annotation_api.db.tables import GoldItem, Person, Task
from annotation_api.http.errors import ApiError


@pytest.fixture
def two(fresh_engine: Engine) -> Iterator[tuple[Session, Session]]:
    with Session(fresh_engine, expire_on_commit=False) as one, Session(fresh_engine) as other:
        yield one, other


@pytest.fixture
def task(two: tuple[Session, Session], factory: Any) -> Task:
    make = factory(two[0])
    row: Task = make.task(make.prompt(make.project()), overlap=3)
    two[0].commit()
    return row


def expected(session: Session, task: Task) -> NewGold:
    shown = reviews.show_task(session, maker(session, task), task.project_id, task.id).responses
    return NewGold(expected=Expected(order=[[response.id] for response in shown]), why="So.")


def maker(session: Session, task: Task) -> Person:
    return session.get_one(Person, find_project(session, task.project_id).created_by)


def test_made_gold_while_it_is_withdrawn_it_keeps_its_places(two: tuple[Session, Session], task: Task) -> None:
    one, other = two
    new = expected(one, task)
    gold.make_gold(one, maker(one, task), task.project_id, task.id, new)
    one.commit()
    seen = gold.find_task(other, task.project_id, task.id)  # a second one looks at it as gold
    assert seen.gold
    gold.withdraw(one, task.project_id, task.id)
    one.commit()
    gold.make_gold(other, maker(other, task), task.project_id, task.id, new)
    other.commit()
    again = one.get_one(Task, task.id, populate_existing=True)
    assert (again.gold, again.overlap) == (True, 0)
    assert one.get_one(GoldItem, task.id).overlap == 3
    gold.withdraw(one, task.project_id, task.id)
    one.commit()
    assert (again.gold, again.overlap) == (False, 3)


@pytest.mark.parametrize("does", ["decides", "makes gold"])
def test_one_that_is_taken_out_meanwhile_is_not_there(
    two: tuple[Session, Session], task: Task, does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its lock."""
    one, other = two
    me, new = maker(other, task), expected(other, task)
    groups = [[str(key) for key in group] for group in new.expected.order or ()]

    look = gold.find_task

    def find_task(*asked: Any) -> Task:
        found = look(*asked)
        removal.remove(one, removal.TaskFilter(task.project_id))
        one.commit()
        return found

    monkeypatch.setattr(reviews if does == "decides" else gold, "find_task", find_task)

    decision = NewDecision(payload={"groups": groups})
    act = (
        (lambda: reviews.decide(other, me, task.project_id, task.id, decision))
        if does == "decides"
        else (lambda: gold.make_gold(other, me, task.project_id, task.id, new))
    )
    with pytest.raises(ApiError, match=f"There is no task {task.id}") as refused:
        act()
    assert refused.value.status == 404
