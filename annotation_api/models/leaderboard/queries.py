"""What is asked of the tables about wins."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import ModelVersion, ModelWin, Project


def visible_projects(session: Session, only: uuid.UUID | None) -> Sequence[uuid.UUID]:
    query = select(Project.id)
    return session.scalars(query if only is None else query.where(Project.id == only)).all()


def models(session: Session, keys: Collection[uuid.UUID]) -> dict[uuid.UUID, ModelVersion]:
    """Those of the models that the caller may see."""
    return {row.id: row for row in session.scalars(select(ModelVersion).where(ModelVersion.id.in_(keys)))}


def wins(session: Session, which: Collection[ColumnElement[bool]], *, by_length: bool) -> Sequence[Any]:
    """(first, second, bucket, longer, wins, losses, ties); `longer` is 0 where it is not asked for."""
    longer: Any = ModelWin.longer if by_length else func.int2(0)
    keys = (ModelWin.first, ModelWin.second, ModelWin.bucket, *((ModelWin.longer,) if by_length else ()))
    numbers = [func.sum(column) for column in (ModelWin.wins, ModelWin.losses, ModelWin.ties)]
    columns = (ModelWin.first, ModelWin.second, ModelWin.bucket, longer.label("longer"))
    query: Select[Any] = select(*columns, *numbers).where(*which).group_by(*keys)
    played = func.sum(ModelWin.wins + ModelWin.losses + ModelWin.ties) > 0
    return session.execute(query.having(played).order_by(*keys)).all()


def parts(session: Session, projects: Collection[uuid.UUID], column: Any) -> list[str]:
    """The criteria or languages by which there are games."""
    query = select(column).where(ModelWin.project_id.in_(projects), column != "").distinct().order_by(column)
    return list(session.scalars(query))
