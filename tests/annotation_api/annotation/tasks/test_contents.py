"""What tasks ask is kept in memory, up to a size."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.orm import Session

from annotation_api.annotation.tasks import contents
from annotation_api.annotation.tasks.contents import Contents, display_order


def test_a_task_is_read_once_while_it_is_among_the_last(
    session: Session, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make.project()
    tasks = [make.task(make.prompt(project, f"prompt {n}"), ("x" * 500, "y" * 500)).id for n in range(3)]
    load = contents._load
    kept, read = Contents(limit=2 * next(load(session, tasks[:1])).size), []
    monkeypatch.setattr(contents, "_load", lambda session, tasks: read.append(set(tasks)) or load(session, tasks))
    for task in (tasks[0], tasks[1], tasks[0], tasks[2], tasks[0], tasks[1]):
        assert kept.of(session, [task])[task].task_id == task
    assert read == [{tasks[0]}, {tasks[1]}, {tasks[2]}, {tasks[1]}]  # the second had to go for the third
    assert {key: found.task_id for key, found in kept.of(session, tasks).items()} == {key: key for key in tasks}
    assert read[4:] == [{tasks[2]}]  # what is kept is not asked for again


def test_the_orders_are_those_of_the_turns(session: Session, make) -> None:
    task = make.task(make.prompt(make.project()), ("a", "b", "c"))
    keys = [str(key) for key in make.response_ids(task)]
    found = Contents().of(session, [task.id])[task.id]
    assert list(found.texts.values()) == ["a", "b", "c"]
    assert json.loads(found.orders) == [display_order(task.id, keys, turn) for turn in range(6)]
    assert display_order(task.id, keys, 6) == display_order(task.id, keys, 0)  # they come round again
