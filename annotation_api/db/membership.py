"""What belongs to the members of a project: it, its data sets, the snapshots made of either, and the jobs and models
that read those, and the pipelines that hold such jobs.

What descends from such a model and itself read nothing of the project is seen by all who see what it read: it belongs
to them. The walk back from it ends before what is hidden (`models.lineage`).

Whoever is neither a member nor an admin sees of a project that is not open nothing at all. That is not left to each
query: a session that works for a person (`see_as`) adds the condition to every select of these tables through the
mapper, `session.get` included. Statements that go straight to the driver say it themselves (`SEES`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Executable, Text, Uuid, bindparam, cast, event, func, literal_column, or_, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from annotation_api.db.tables import Dataset, Job, ModelVersion, Pipeline, Project, ProjectMember, Role, Snapshot

VIEWER = "viewer"  # in a session's info: for whom it works, if that one does not see everything
EVERYTHING = {"everything": True}  # execution options of a statement that must know what nobody may see
# Of `tasks t`, in statements that go straight to the driver: a prompt in one of these languages, or in none that is
# named. No languages: all of them.
SPOKEN = """(%(languages)s::text[] IS NULL OR EXISTS (
    SELECT FROM prompts q WHERE q.id = t.prompt_id
        AND (q.record->>'language' IS NULL OR q.record->>'language' = ANY (%(languages)s::text[]))
))"""
# Of `projects p`, in statements that go straight to the driver.
SEES = """(p.open OR %(everything)s OR EXISTS (
    SELECT FROM project_members m WHERE m.project_id = p.id AND m.person_id = %(person)s
))"""


def see_as(session: Session, person_id: uuid.UUID, role: Role) -> None:
    """From now on the session shows what the person may see."""
    session.info[VIEWER] = None if role is Role.ADMIN else person_id


def reads_answers(session: Session, role: Role, project_id: uuid.UUID) -> bool:
    """Whether who has the role reads what others answered in the project: if they see it, and not as an annotator."""
    return role is not Role.ANNOTATOR and session.get(Project, project_id) is not None


_ID = bindparam("rankloop_viewer", type_=Uuid())  # for whom a statement works


def _projects() -> ColumnElement[bool]:
    mine = select(ProjectMember.project_id).where(ProjectMember.person_id == _ID)
    return or_(Project.open, Project.id.in_(mine))


def _hidden_projects() -> Any:
    return select(Project.id).where(~_projects())


def _datasets() -> ColumnElement[bool]:
    return or_(Dataset.project_id.is_(None), Dataset.project_id.not_in(_hidden_projects()))


def _snapshots() -> ColumnElement[bool]:
    # Their names stand in the text: each parameter of a rule is sorted out anew in each select.
    source = func.jsonb_extract_path_text(Snapshot.sources, literal_column("'project'"))
    datasets = func.jsonb_extract_path(Snapshot.sources, literal_column("'datasets'"))
    hidden = select(cast(Project.id, Text)).where(~_projects())
    of_hidden = select(Dataset.id).where(
        Dataset.project_id.in_(_hidden_projects()), func.jsonb_exists(datasets, cast(Dataset.id, Text))
    )
    return or_(source.is_(None), source.not_in(hidden)) & ~of_hidden.exists()


def _models() -> ColumnElement[bool]:
    """By the snapshot that it was trained on, and by all else that its job read: verdicts, prompts, a project."""
    hidden = select(Snapshot.id).where(~_snapshots())
    of_hidden = select(Job.id).where(Job.id == ModelVersion.job_id, ~_jobs())
    return or_(ModelVersion.snapshot_id.is_(None), ModelVersion.snapshot_id.not_in(hidden)) & ~of_hidden.exists()


def _jobs() -> ColumnElement[bool]:
    """Inputs name what a job reads by its id."""
    inputs = cast(Job.inputs, Text)
    snapshots = select(Snapshot.id).where(~_snapshots(), inputs.contains(cast(Snapshot.id, Text)))
    projects = select(Project.id).where(~_projects(), inputs.contains(cast(Project.id, Text)))
    return ~snapshots.exists() & ~projects.exists()


def _pipelines() -> ColumnElement[bool]:
    """Seen with all their jobs, or not at all."""
    return ~select(Job.id).where(Job.pipeline_id == Pipeline.id, ~_jobs()).exists()


# Made once: to make one takes longer than to ask the database, and each select has one. So the person is a parameter.
RULES: dict[type, ExecutableOption] = {
    kind: with_loader_criteria(kind, rule, propagate_to_loaders=False)
    for kind, rule in {
        Project: _projects(),
        Dataset: _datasets(),
        Snapshot: _snapshots(),
        ModelVersion: _models(),
        Job: _jobs(),
        Pipeline: _pipelines(),
    }.items()
}


_ruled: WeakKeyDictionary[Executable, Executable] = WeakKeyDictionary()  # a statement with the rules of what it reads


@event.listens_for(Session, "do_orm_execute")
def _hide(state: ORMExecuteState) -> None:
    """Also of what a relationship loads, which is a select of its own; so no rule is passed on to loaders."""
    viewer = state.session.info.get(VIEWER)
    if viewer is None or not state.is_select or state.is_column_load or state.execution_options.get("everything"):
        return
    if kinds := {mapper.class_ for mapper in state.all_mappers} & RULES.keys():
        given = state.parameters
        assert not isinstance(given, Sequence), "a select runs once"
        # One that is built once is ruled once: SQLAlchemy then works out but once which of its compiled ones it is.
        if (ruled := _ruled.get(state.statement)) is None:
            ruled = _ruled[state.statement] = state.statement.options(*(RULES[kind] for kind in kinds))
        state.statement = ruled
        state.parameters = {**(given or {}), _ID.key: viewer}
