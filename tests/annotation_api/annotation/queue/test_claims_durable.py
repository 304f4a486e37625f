"""A claim is on the disk before anybody works on it: a killed Postgres takes back no task in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role


@pytest.fixture
def commits(session: Session) -> Iterator[list[tuple[str, str]]]:
    """Of each commit of a request: whether it waits for the disk."""
    found: list[tuple[str, str]] = []

    def note(committing: Session) -> None:
        if committing is not session:
            found.append(("commit", committing.scalar(text("SHOW synchronous_commit"))))

    event.listen(Session, "before_commit", note)
    yield found
    event.remove(Session, "before_commit", note)


def test_a_claim_waits_for_the_disk_a_heartbeat_does_not(
    as_: Callable[..., TestClient], make, commits: list[tuple[str, str]]
) -> None:
    project = make.project()
    make.task(make.prompt(project))
    client = as_(Role.ANNOTATOR)
    held = client.post(f"/v1/projects/{project.id}/next").json()["assignment"]
    assert commits[-1] == ("commit", "on")
    assert client.post(f"/v1/assignments/{held}:renew").status_code == 200
    assert commits[-1] == ("commit", "off")
