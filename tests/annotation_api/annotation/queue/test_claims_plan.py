"""How Postgres looks for the next task where nothing was counted yet, as in every new project."""

from __future__ import annotations

from sqlalchemy.orm import Session

from annotation_api.annotation.queue import claims
from annotation_api.db.sql import rows


def test_what_a_person_had_is_asked_task_by_task(session: Session, make) -> None:
    project, person = make.project(), make.person()
    make.task(make.prompt(project))
    session.flush()
    values = {"person": person.id, "project": project.id, "languages": None, "passed": []}
    plan = [row[0] for row in rows(session, f"EXPLAIN {claims.LOCK_FIRST}", **values)]
    (looked,) = [place for place, line in enumerate(plan) if "on assignments mine" in line]
    assert f"Index Cond: ((task_id = t.id) AND (person_id = '{person.id}'::uuid))" in plan[looked + 1], "\n".join(plan)
