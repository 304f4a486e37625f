"""The form to freeze a project says whose judgements count, and the snapshot's page repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from annotation_api.db.tables import PersonStanding, Role
from tests.support.planted import Planted


@pytest.mark.parametrize(
    ("adjudicated", "paused", "rows", "says"),
    [
        ("instead", "out", 2, "the decision, not the votes"),
        ("beside", "in", 3, "the decision beside the votes"),
        ("beside", "out", 2, "are left out"),
        ("ignore", "in", 2, ""),
    ],
)
def test_a_freeze_takes_the_judgements_that_were_chosen(
    browser_of: Any, session: Session, make: Any, tmp_path: Path, adjudicated: str, paused: str, rows: int, says: str
) -> None:
    planted, browser = Planted(session, make, tmp_path), browser_of(Role.ADMIN)
    session.add(PersonStanding(project_id=planted.project.id, person_id=planted.person.id, paused_at=func.now()))
    session.flush()
    form = browser.get(f"/snapshots?project={planted.project.id}").text
    assert 'name="adjudicated"' in form
    assert 'name="paused"' in form
    sent = {"source": f"project:{planted.project.id}", "kind": "rankings", "adjudicated": adjudicated, "paused": paused}
    page = browser.get(browser.post("/snapshots", data=sent).headers["location"]).text
    assert f"<dt>Rows</dt><dd>{rows}</dd>" in page
    assert says in page
    assert ("Where a reviewer decided" in page) == (adjudicated != "ignore")


def test_a_refused_form_keeps_what_was_chosen(browser_of: Any, make: Any) -> None:
    sent = {"source": f"project:{make.project().id}", "kind": "rankings", "adjudicated": "beside", "paused": "in"}
    page = browser_of(Role.ADMIN).post("/snapshots", data=sent)
    assert page.status_code == 422
    assert '<option value="beside" selected>' in page.text
    assert '<option value="in" selected>' in page.text
