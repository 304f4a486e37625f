"""Criteria ranked apart: one order each, in submissions, in snapshots, and on the page."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.db.forms import RankingForm
from annotation_api.db.tables import Role, SnapshotRow, Submission
from annotation_api.web.projects import form_builder

Clients = Callable[..., TestClient]
FORM = RankingForm(criterion="helpful", apart=("honest", "harmless"), rationale="required")


@pytest.fixture
def project(session: Session, make: Any) -> Any:
    row = make.project(forms=[FORM])
    make.task(make.prompt(row), ("one", "two", "three"))
    session.commit()
    return row


def submit(client: TestClient, project: Any, **payload: Any) -> Any:
    """The first response best; `payload` names what else is said, with letters for the responses."""
    task = client.post(f"/v1/projects/{project.id}/next").json()
    keys = {response["text"]: response["id"] for response in task["responses"]}

    def order(words: str) -> list[list[str]]:
        return [[keys[word] for word in group.split("=")] for group in words.split(">")]

    body = {"groups": order("one>two>three"), "note": "So."} | payload
    body["apart"] = {criterion: order(words) for criterion, words in payload.get("apart", {}).items()}
    return client.post(
        "/v1/submissions", json={"id": str(uuid.uuid4()), "assignment": task["assignment"], "payload": body}
    )


def test_each_order_is_a_line_of_its_own(project: Any, session: Session, as_: Clients) -> None:
    sent = submit(as_(Role.ANNOTATOR), project, apart={"honest": "two>one=three", "harmless": "three>two>one"})
    assert sent.status_code == 201, sent.text
    snapshot = as_(Role.ENGINEER).post("/v1/snapshots", json={"project": str(project.id), "kind": "rankings"}).json()
    query = select(SnapshotRow).where(SnapshotRow.snapshot_id == uuid.UUID(snapshot["id"]))
    rows = session.scalars(query.order_by(SnapshotRow.position)).all()
    lines = [json.loads(row.line) for row in rows]
    assert [(line["criterion"], line["groups"]) for line in lines] == [
        ("helpful", [[0], [1], [2]]),
        ("harmless", [[2], [1], [0]]),
        ("honest", [[1], [0, 2]]),
    ]
    assert {row.submission_id for row in rows} == {uuid.UUID(sent.json()["id"])}
    assert [line["lineage"].get("order") for line in lines] == [None, "harmless", "honest"]
    assert [line.get("rationale") for line in lines] == ["So.", None, None]  # said once


@pytest.mark.parametrize(
    ("apart", "pointer", "says"),
    [
        ({"honest": "two>one>three"}, "/payload/apart/harmless", "an order by harmless is asked for"),
        ({"honest": "two>one", "harmless": "one>two>three"}, "/payload/apart/honest", "Not ranked yet"),
        ({"helpful": "one>two>three"}, "/payload/apart/helpful", "honest, harmless is"),
    ],
)
def test_an_order_that_lacks_or_strays_is_refused(
    project: Any, as_: Clients, apart: dict[str, str], pointer: str, says: str
) -> None:
    answer = submit(as_(Role.ANNOTATOR), project, apart=apart)
    assert answer.status_code == 422
    problems = {each["pointer"]: each["message"] for each in answer.json()["errors"]}
    assert says in problems[pointer]


def test_a_reviewer_reads_each_order_in_the_language_of_the_page(
    project: Any, as_: Clients, browser_of: Clients
) -> None:
    sent = submit(as_(Role.ANNOTATOR), project, apart={"honest": "two>one=three", "harmless": "three>two>one"}).json()
    browser, review = browser_of(Role.REVIEWER), f"/projects/{project.id}/review"
    browser.cookies.set("rankloop_language", "zh")
    for path in (review, f"{review}/answers/{sent['id']}", f"{review}/tasks/{sent['task']}"):
        page = browser.get(path).text
        assert "诚实：" in page, path
        assert "honest:" not in page, path


def test_no_order_is_owed_where_all_are_bad(project: Any, as_: Clients) -> None:
    assert submit(as_(Role.ANNOTATOR), project, all_bad=True).status_code == 201


def test_a_criterion_has_one_order() -> None:
    for wrong in ({"criterion": "honest", "apart": ("honest",)}, {"apart": ("honest", "honest")}):
        with pytest.raises(ValidationError, match="has an order already"):
            RankingForm.model_validate(wrong)


def test_the_page_asks_for_each_order_and_the_builder_knows_them(
    project: Any, session: Session, browser_of: Clients
) -> None:
    browser, page = browser_of(Role.ANNOTATOR), f"/projects/{project.id}/annotate"
    html = browser.get(page).text
    assert 'aria-label="Rank 1 for answer A: honest"' in html
    found = re.search(r'name="assignment" value="([^"]+)"', html)
    assert found is not None
    fields = {"assignment": found[1], "submission": str(uuid.uuid4()), "note": "So."}
    ranks = {letter: str(place) for place, letter in enumerate("ABC", start=1)}
    fields |= {f"rank-{letter}": rank for letter, rank in ranks.items()}
    fields |= {f"rank-honest-{letter}": rank for letter, rank in ranks.items()}
    missing = browser.post(page, data=fields)
    assert missing.status_code == 422
    assert "Choose a rank for A, B, C." in missing.text
    assert len(re.findall(r'name="rank-honest-\w" value="\d" required aria-label="[^"]*" checked', missing.text)) == 3
    sent = browser.post(page, data=fields | {f"rank-harmless-{letter}": "1" for letter in ranks})
    assert sent.status_code == 303, sent.text
    stored = session.scalars(select(Submission)).one().payload
    assert stored["apart"]["honest"] == stored["groups"]
    assert [len(group) for group in stored["apart"]["harmless"]] == [3]
    again = browser.get(f"/projects/{project.id}/correct").text
    assert len(re.findall(r'name="rank-harmless-\w" value="1" required aria-label="[^"]*" checked', again)) == 3
    built = form_builder.fields_of(FORM)
    assert built["ranking.apart"] == "honest, harmless"
    assert "ranking.use_json" not in built
    assert form_builder.form_of("ranking", built) == FORM
