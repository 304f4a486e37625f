"""What narrows a page down: an empty field chooses nothing, and what is no such value is refused, never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from annotation_api.db.tables import Role

WRONG = [
    ("/projects/{project}/review", "faster", "quick"),
    ("/projects/{project}/review", "slower", "-1"),
    ("/projects/{project}/review", "slower", "nan"),
    ("/projects/{project}/review", "reviewed", "maybe"),
    ("/projects/{project}/tasks", "state", "finished"),
    ("/leaderboard", "project", "tides"),
    ("/jobs", "stage", "dpo"),
    ("/jobs", "state", "done"),
    ("/models", "kind", "critic"),
    ("/audit", "outcome", "fine"),
    ("/mine", "project", "tides"),
]


@pytest.mark.parametrize(("path", "name", "value"), WRONG, ids=[f"{path} {name}" for path, name, _ in WRONG])
def test_a_value_that_there_is_not_is_refused(browser_of: Any, make: Any, path: str, name: str, value: str) -> None:
    browser, path = browser_of(Role.ADMIN), path.format(project=make.project().id)
    assert browser.get(path, params={name: ""}).status_code == 200
    answer = browser.get(path, params={name: value})
    assert answer.status_code == 422
    assert value in answer.text


@pytest.mark.parametrize("path", ["/jobs", "/models", "/datasets", "/snapshots", "/pipelines"])
@pytest.mark.parametrize("name", ["name", "tag"])
def test_what_no_database_holds_is_refused(browser_of: Any, path: str, name: str) -> None:
    assert browser_of(Role.ADMIN).get(path, params={name: "a\0b"}).status_code == 422
