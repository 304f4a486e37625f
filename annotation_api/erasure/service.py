"""Erasing what was said: an admin everywhere, the maker of a project within it. Shown first, then done by a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, canonical_json
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.erasing import erasures, plan
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import Dataset, DatasetRow, Erasure, Person, Project, PromptRow, Role, Task
from annotation_api.erasure.schemas import ErasurePlan, ErasureTarget, NewErasure
from annotation_api.http.errors import ApiError, invalid, not_found

MOST = 200


def preview(session: Session, me: Person, target: ErasureTarget) -> ErasurePlan:
    """What would go, and what stands in the way. Raises ApiError for what is not there or not the caller's."""
    wanted = _erasure(session, me, target, "")
    found = plan.plan(session, wanted)
    shown = ErasurePlan.model_validate(found)
    shown.readers = plan.readers(session, wanted, [one.id for one in found.snapshots])
    return shown


def ask(session: Session, me: Person, new: NewErasure) -> Erasure:
    """Put it on the list; one that stands there for the same is that one. 409 while a job reads what will go."""
    wanted = _erasure(session, me, new, new.reason.strip())
    if (standing := erasures.standing(session, wanted)) is not None:
        return standing
    try:
        erasures.begin(session, wanted)
    except erasures.InUse as reason:
        raise ApiError(409, "in-use", reason.said) from None
    return wanted


def find(session: Session, me: Person, key: uuid.UUID) -> Erasure:
    found = session.get(Erasure, key)
    if found is None or not _sees(session, me, found):
        raise not_found("erasure", key)
    return found


def listed(session: Session, me: Person) -> Sequence[Erasure]:
    """Newest first: all for an admin, for others what they asked for or what is in their projects."""
    query = select(Erasure).order_by(Erasure.created_at.desc(), Erasure.id).limit(MOST)
    if me.role is not Role.ADMIN:
        own = select(Project.id).where(Project.created_by == me.id)
        query = query.where(or_(Erasure.created_by == me.id, Erasure.project_id.in_(own)))
    return session.scalars(query).all()


def _sees(session: Session, me: Person, row: Erasure) -> bool:
    if me.role is Role.ADMIN or row.created_by == me.id:
        return True
    project = session.get(Project, row.project_id) if row.project_id else None
    return project is not None and project.created_by == me.id


def _erasure(session: Session, me: Person, asked: ErasureTarget, reason: str) -> Erasure:
    """The row to be, with what it looks for."""
    _may(session, me, asked.project)
    row = Erasure(scope=asked.scope, project_id=asked.project, reason=reason, created_by=me.id, target={}, counts={})
    if asked.scope is ErasureScope.RECORD:
        prompt = _prompt(session, asked)
        row.target = {"key": prompt.key}
        row.sought = prompt.model_dump(mode="json", include={"messages"}, exclude_none=True, exclude_defaults=True)[
            "messages"
        ]
    elif asked.scope is ErasureScope.PERSON:
        if asked.person is None or session.get(Person, asked.person) is None:
            raise not_found("person", asked.person)
        row.target = {"person": str(asked.person)}
    else:
        row.target = {"project": str(asked.project)}
    return row


def _may(session: Session, me: Person, project_id: uuid.UUID | None) -> None:
    """Admins everywhere; who made a project, in it."""
    project = session.get(Project, project_id) if project_id else None
    if project_id and project is None:
        raise not_found("project", project_id)
    if me.role is not Role.ADMIN and (project is None or project.created_by != me.id):
        detail = (
            Sentence("erase-not-yours", "Only an admin, or who made this project, erases in it; you are neither.")
            if project
            else Sentence("erase-where", "Only an admin erases everywhere; who made a project erases in it: name it.")
        )
        raise ApiError(403, "forbidden", detail)


def _prompt(session: Session, asked: ErasureTarget) -> Prompt:
    """The prompt of a task or of a row of a data set. 404 for what is not there, 422 for what is gone already."""
    if asked.task is not None:
        task = session.get(Task, asked.task)
        if task is None or (asked.project and task.project_id != asked.project):
            raise not_found("task", asked.task)
        row = session.get_one(PromptRow, task.prompt_id)
        return (
            Prompt.model_validate_json(canonical_json(row.record))
            if row.erased_at is None
            else _gone("/task", asked.task)
        )
    dataset = session.get(Dataset, asked.dataset)
    found = session.get(DatasetRow, (asked.dataset, asked.row, asked.part))
    if dataset is None or found is None or (asked.project and dataset.project_id != asked.project):
        raise not_found("row of a data set", f"{asked.dataset} {asked.row}")
    if found.erased_at is not None:
        return _gone("/row", asked.row)
    return Prompt.model_validate_json(canonical_json(found.record.get("prompt", found.record)))


def _gone(pointer: str, value: object) -> Prompt:
    raise invalid(
        [Problem(pointer=pointer, message=Sentence("erased-already", "This was erased already."), value=str(value))]
    )
