"""What a person typed into a form of the quality desk stands in it still when the form is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role
from tests.annotation_api.web.test_pages import Page

Browsers = Callable[..., TestClient]


@pytest.fixture
def judged(session: Session, make: Any, person: Any) -> tuple[str, Any, Any]:
    """The address of a project's review, a task, and its answer, which its person has corrected meanwhile."""
    project, author = make.project(name="Helpfulness"), person(Role.ANNOTATOR)
    task = make.task(make.prompt(project, "Which is it?"), overlap=3)
    answer = make.submission(task, [[0], [1]], author)
    again = {"assignment_id": answer.assignment_id, "supersedes": answer.id}
    make.submission(task, [[1], [0]], author, **again)
    session.commit()
    return f"/projects/{project.id}/review", task, answer


def test_a_comment_on_an_answer_that_was_corrected_meanwhile(
    judged: tuple[str, Any, Any], browser_of: Browsers
) -> None:
    url, _, answer = judged
    sent = {"outcome": "sent_back", "comment": "A long & careful comment."}
    refused = browser_of(Role.REVIEWER).post(f"{url}/answers/{answer.id}", data=sent)
    assert refused.status_code == 409
    assert re.search(r"<textarea[^>]*>A long &amp; careful comment.</textarea>", refused.text)


def test_what_a_gold_item_should_expect(judged: tuple[str, Any, Any], browser_of: Browsers) -> None:
    url, task, _ = judged
    sent = {"order": "A > Z", "why": "Because of all that.", "use": "entry", "place-B": "last"}
    refused = browser_of(Role.REVIEWER).post(f"{url}/tasks/{task.id}/gold", data=sent)
    assert refused.status_code == 422
    page = Page(refused.text)
    assert (page.fields["order"], page.fields["why"]) == ("A > Z", "Because of all that.")
    chosen = [attributes.get("value") for _, attributes in page.tags if "selected" in attributes]
    assert {"entry", "last"} <= set(chosen)


def test_the_reason_of_an_erasure(judged: tuple[str, Any, Any], browser_of: Browsers) -> None:
    _, task, _ = judged
    refused = browser_of(Role.ADMIN).post(
        "/erasures", data={"scope": "record", "task": str(task.id), "reason": "it" + 2000 * "!"}
    )
    assert refused.status_code == 409
    assert "it!!!" in refused.text
