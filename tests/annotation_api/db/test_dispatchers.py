"""Who says that jobs can run."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.db import dispatchers
from annotation_api.db.tables import RayState


def test_a_dispatcher_is_alive_as_long_as_it_reports(session: Session) -> None:
    dispatchers.report(session, "a:1", slots=2, busy=0, ray=RayState.LOCAL)
    dispatchers.report(session, "b:2", slots=1, busy=1, ray=RayState.DOWN)
    dispatchers.report(session, "a:1", slots=2, busy=1, ray=RayState.UP)
    found = [(row.id, row.slots, row.busy, row.ray) for row in dispatchers.alive(session)]
    assert found == [("a:1", 2, 1, RayState.UP), ("b:2", 1, 1, RayState.DOWN)]
    session.execute(text("UPDATE dispatchers SET seen_at = clock_timestamp() - interval '31 s' WHERE id = 'a:1'"))
    assert [row.id for row in dispatchers.alive(session)] == ["b:2"]
    dispatchers.leave(session, "b:2")
    assert list(dispatchers.alive(session)) == []


def test_what_was_gone_for_a_day_is_forgotten(session: Session) -> None:
    dispatchers.report(session, "a:1", slots=1, busy=0, ray=RayState.LOCAL)
    session.execute(text("UPDATE dispatchers SET seen_at = clock_timestamp() - interval '25 hours'"))
    dispatchers.report(session, "b:2", slots=1, busy=0, ray=RayState.LOCAL)
    assert session.scalar(text("SELECT string_agg(id, ',') FROM dispatchers")) == "b:2"
