"""Forms of a project: the newest of a kind, and a new version of one."""

from __future__ import annotations

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.forms import FormSpec, QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.tables import FeedbackKind, Form


def newest_form(session: Session, project_id: uuid.UUID, kind: FeedbackKind = FeedbackKind.RANKING) -> Form | None:
    """The form that new tasks of the kind use; None if the project does not ask in this way."""
    query = select(Form).where(Form.project_id == project_id, Form.kind == kind)
    return session.scalar(query.order_by(Form.version.desc()).limit(1))


def newest_forms(session: Session, project_id: uuid.UUID) -> dict[FeedbackKind, Form]:
    """The newest form of each kind that the project asks for."""
    query = select(Form).where(Form.project_id == project_id).order_by(Form.version)
    return {form.kind: form for form in session.scalars(query)}


def read_forms(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, FormSpec]:
    """Every version of the project's forms, by its id."""
    found = session.execute(select(Form.id, Form.spec).where(Form.project_id == project_id))
    return {key: read_form(spec) for key, spec in found}


def add_form(
    session: Session, project_id: uuid.UUID, spec: RankingForm | QuestionsForm | RulesForm, by: uuid.UUID
) -> Form:
    """Store `spec` as the next version of its kind; an unchanged one is the version that stands."""
    kind, stored = FeedbackKind(spec.kind), spec.model_dump(mode="json", exclude_defaults=True) | {"kind": spec.kind}
    standing = newest_form(session, project_id, kind)
    if standing is not None and standing.spec == stored:
        return standing
    before = session.scalar(select(func.max(Form.version)).where(Form.project_id == project_id, Form.kind == kind))
    form = Form(
        id=uuid.uuid4(), project_id=project_id, kind=kind, version=(before or 0) + 1, spec=stored, created_by=by
    )
    session.add(form)
    session.flush()
    return form
