"""Erasures for looking at: one that is planned, one at work, one that is done."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import Erasure, ErasureState, Person, Project

COUNTS = {"prompts": 1, "responses": 4, "answers": 3, "comments": 1, "snapshot rows": 6, "files": 2}


def fill(session: Session, project: Project, admin: Person, task: uuid.UUID) -> list[tuple[str, str, str]]:
    """(name, route, path) of their pages."""
    asked: dict[str, Any] = {"reason": "Its author asked for it.", "created_by": admin.id}
    ended = {"state": ErasureState.SUCCEEDED, "counts": COUNTS, "done": 17, "total": 14, "finished_at": func.now()}
    done = Erasure(scope=ErasureScope.RECORD, target={"key": "3f" * 32}, **asked, **ended)
    target = {"project": str(project.id)}
    begun = Erasure(scope=ErasureScope.PROJECT, target=target, project_id=project.id, total=900, done=300, **asked)
    session.add_all([done, begun])
    session.flush()
    return [
        ("erasures", "/erasures", "/erasures"),
        ("erasure-plan", "/erasures/new", f"/erasures/new?scope=record&task={task}"),
        ("erasure", "/erasures/{erasure_id}", f"/erasures/{done.id}"),
        ("erasure-begun", "/erasures/{erasure_id}", f"/erasures/{begun.id}"),
    ]
