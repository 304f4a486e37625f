"""Projects and the tasks in them: made, listed, counted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.annotation.projects.new_tasks import check_forms, check_responses, prompt_of
from annotation_api.annotation.projects.schemas import FormVersion, ProjectPatch
from annotation_api.annotation.tasks import queries
from annotation_api.annotation.tasks.schemas import (
    FormOut,
    NewProject,
    NewTask,
    PersonProgress,
    Progress,
    ProjectOut,
    TaskOut,
    TaskResponseOut,
)
from annotation_api.db import form_rows, places, tasks
from annotation_api.db.forms import read_form
from annotation_api.db.tables import Person, Project, ProjectMember, Role, Task
from annotation_api.db.tallies import counts
from annotation_api.http.errors import ApiError, not_found


def create_project(session: Session, person: Person, new: NewProject) -> Project:
    if queries.project_named(session, new.name):
        raise _name_taken(new.name)
    project = Project(**new.model_dump(exclude={"forms"}), created_by=person.id)
    session.add(project)
    session.flush()
    session.refresh(project)
    session.add(ProjectMember(project_id=project.id, person_id=person.id))
    for form in new.forms:
        form_rows.add_form(session, project.id, form, person.id)
    return project


def change_project(session: Session, person: Person, project: Project, patch: ProjectPatch) -> Project:
    """Set what the patch names. 409 when the new name is another project's."""
    session.refresh(project, with_for_update={"key_share": True})  # versions of forms are counted one at a time
    named = queries.project_named(session, patch.name) if patch.name else None
    if named is not None and named.id != project.id:
        raise _name_taken(named.name)
    for column, value in patch.changes().items():
        setattr(project, column, value)
    _close(project, patch)
    for form in patch.forms or ():
        form_rows.add_form(session, project.id, form, person.id)
    session.flush()
    if patch.open is False:
        places.give_back_unseen(session, project.id)
    session.refresh(project)
    return project


def _close(project: Project, patch: ProjectPatch) -> None:
    """An archived project is closed; one that is opened again is in the lists again."""
    if patch.closed or patch.archived:
        project.closed_at = project.closed_at or func.now()
    if patch.archived:
        project.archived_at = project.archived_at or func.now()
    if patch.closed is False:
        project.closed_at = None
    if patch.closed is False or patch.archived is False:
        project.archived_at = None


def _name_taken(name: str) -> ApiError:
    return ApiError(
        409,
        "name-taken",
        Sentence(
            "project-name-taken", "There is a project named %(name)s already; choose another name.", name=repr(name)
        ),
    )


def form_versions(session: Session, project: Project) -> list[FormVersion]:
    """Every version of every form of the project, by kind, newest first."""
    forms, made = session.scalars(queries.forms_of(project.id)).all(), counts.tasks_by_form(session, project.id)
    newest = {form.kind: form.version for form in reversed(forms)}
    return [
        FormVersion(
            id=form.id,
            kind=form.kind,
            version=form.version,
            spec=read_form(form.spec),
            created_at=form.created_at,
            tasks=made.get(form.id, 0),
            newest=newest[form.kind] == form.version,
        )
        for form in forms
    ]


def find_project(session: Session, project_id: uuid.UUID) -> Project:
    project = session.get(Project, project_id)
    if project is None:
        raise not_found("project", project_id)
    return project


def show_projects(session: Session, projects: Sequence[Project]) -> list[ProjectOut]:
    """The projects with their counts, in the order given."""
    ids = [project.id for project in projects]
    progress, forms = counts.progress_of(session, ids), _forms_of(session, ids)
    return [
        ProjectOut(
            id=project.id,
            name=project.name,
            guidelines=project.guidelines,
            overlap=project.overlap,
            lease_seconds=project.lease_seconds,
            responses_per_task=project.responses_per_task,
            daily_limit=project.daily_limit,
            open=project.open,
            closed_at=project.closed_at,
            archived_at=project.archived_at,
            forms=forms[project.id],
            created_at=project.created_at,
            progress=Progress.model_validate(progress[project.id]) if project.id in progress else Progress(),
        )
        for project in projects
    ]


def _forms_of(session: Session, project_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[FormOut]]:
    """The newest form of each kind, by project."""
    found: dict[uuid.UUID, list[FormOut]] = {key: [] for key in project_ids}
    for form in session.scalars(queries.newest_forms(project_ids)):
        shown = FormOut(id=form.id, kind=form.kind, version=form.version, spec=read_form(form.spec))
        found[form.project_id].append(shown)
    return found


def show_project(session: Session, viewer: Person, project: Project) -> ProjectOut:
    """The project with its counts; who did how much is not for annotators, names are for admins."""
    shown = show_projects(session, [project])[0]
    if viewer.role == Role.ANNOTATOR:
        return shown
    people = [
        PersonProgress(
            pseudonym=row.pseudonym,
            name=row.name if viewer.role == Role.ADMIN else None,
            judged=row.judged,
            skipped=row.skipped,
        )
        for row in counts.progress_by_person(session, project.id)
    ]
    return shown.model_copy(update={"people": people})


def add_tasks(session: Session, project: Project, new: Sequence[NewTask]) -> list[uuid.UUID]:
    """Put tasks in the project's queue, all or none; equal prompts share a row. Returns their ids."""
    prompts = [prompt_of(number, task) for number, task in enumerate(new)]
    forms = form_rows.newest_forms(session, project.id)
    check_forms(new, {kind: read_form(form.spec) for kind, form in forms.items()})
    check_responses(session, new)
    prompt_ids = tasks.prompt_ids(session, project.id, prompts)
    rows = [
        tasks.TaskToAdd(
            project_id=project.id,
            form_id=forms[item.kind].id,
            responses=[
                tasks.Response(prompt_ids[prompt.key], r.text, model_id=r.model, sampling=r.sampling)
                for r in item.responses
            ],
            overlap=item.overlap or project.overlap,
            kind=item.kind,
            priority=item.priority,
            rules=item.rules,
        )
        for prompt, item in zip(prompts, new, strict=True)
    ]
    tasks.add_tasks(session, rows)
    return [row.id for row in rows]


def show_tasks(session: Session, viewer: Person, shown: Sequence[Task]) -> list[TaskOut]:
    """Tasks with their responses. Reviewers also rank, so model names are for engineers and admins."""
    ids = [task.id for task in shown]
    responses, judged = queries.responses_of(session, ids), queries.judged_counts(session, ids)
    tells, prompts = viewer.role in (Role.ENGINEER, Role.ADMIN), queries.prompts_of(session, shown)
    return [
        TaskOut(
            id=task.id,
            kind=task.kind,
            rules=task.rules,
            overlap=task.overlap,
            removed_overlap=task.removed_overlap,
            priority=task.priority,
            judged=judged.get(task.id, 0),
            created_at=task.created_at,
            prompt=prompts[task.prompt_id].record,
            responses=[
                TaskResponseOut(id=row.id, text=row.text, model=row.model_id if tells else None)
                for row in responses[task.id]
            ],
        )
        for task in shown
    ]
