"""Projects and the tasks in them: made, listed, counted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alignment.config import Problem
from alignment.records import Prompt, canonical_json, sha256_text
from annotation_api.db.tables import (
    ModelVersion,
    Person,
    Project,
    PromptRow,
    ResponseRow,
    Role,
    Task,
    TaskResponse,
)
from annotation_api.errors import ApiError, from_validation, invalid, not_found
from annotation_api.tasks import queries
from annotation_api.tasks.schemas import (
    NewProject,
    NewTask,
    PersonProgress,
    Progress,
    ProjectOut,
    TaskOut,
    TaskResponseOut,
)


def create_project(session: Session, person: Person, new: NewProject) -> Project:
    if queries.project_named(session, new.name):
        raise ApiError(409, "name-taken", f"There is a project named {new.name!r} already; choose another name.")
    project = Project(**new.model_dump(), created_by=person.id)
    session.add(project)
    session.flush()
    session.refresh(project)
    return project


def find_project(session: Session, project_id: uuid.UUID) -> Project:
    project = session.get(Project, project_id)
    if project is None:
        raise not_found("project", project_id)
    return project


def show_projects(session: Session, projects: Sequence[Project]) -> list[ProjectOut]:
    """The projects with their counts, in the order given."""
    counts = queries.progress_of(session, [project.id for project in projects])
    return [
        ProjectOut(
            id=project.id,
            name=project.name,
            guidelines=project.guidelines,
            overlap=project.overlap,
            lease_seconds=project.lease_seconds,
            created_at=project.created_at,
            progress=Progress.model_validate(counts[project.id]) if project.id in counts else Progress(),
        )
        for project in projects
    ]


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
        for row in queries.progress_by_person(session, project.id)
    ]
    return shown.model_copy(update={"people": people})


def add_tasks(session: Session, project: Project, new: Sequence[NewTask]) -> list[uuid.UUID]:
    """Put tasks in the project's queue, all or none; equal prompts share a row. Returns their ids."""
    prompts = [_prompt(number, task) for number, task in enumerate(new)]
    _check_responses(session, new)
    prompt_ids = _prompt_rows(session, project, prompts)
    ids = []
    for prompt, item in zip(prompts, new, strict=True):
        task = Task(
            id=uuid.uuid4(),
            project_id=project.id,
            prompt_id=prompt_ids[prompt.key],
            overlap=item.overlap or project.overlap,
            priority=item.priority,
        )
        session.add_all([task, *_response_rows(task, item)])
        ids.append(task.id)
    session.flush()
    return ids


def _response_rows(task: Task, item: NewTask) -> list[ResponseRow | TaskResponse]:
    """The task's responses, and their places in it."""
    rows: list[ResponseRow | TaskResponse] = []
    for position, response in enumerate(item.responses):
        row = ResponseRow(
            id=uuid.uuid4(),
            prompt_id=task.prompt_id,
            text=response.text,
            text_hash=sha256_text(response.text),
            model_id=response.model,
            sampling=response.sampling,
        )
        rows += [row, TaskResponse(task_id=task.id, position=position, response_id=row.id)]
    return rows


def _prompt(number: int, task: NewTask) -> Prompt:
    try:
        return Prompt.model_validate_json(canonical_json(task.prompt))
    except ValidationError as error:
        raise from_validation(error, Prompt, under=f"/{number}/prompt") from None


def _check_responses(session: Session, tasks: Sequence[NewTask]) -> None:
    """At least two different texts in a task, and no model that does not exist."""
    problems = [
        Problem(pointer=f"/{number}/responses", message="All responses are the same text: there is nothing to rank.")
        for number, task in enumerate(tasks)
        if len({response.text for response in task.responses}) < 2
    ]
    named = {response.model for task in tasks for response in task.responses if response.model}
    known = set(session.scalars(select(ModelVersion.id).where(ModelVersion.id.in_(named)))) if named else set()
    problems += [
        Problem(pointer=f"/{n}/responses/{i}/model", message="There is no such model version.", value=str(r.model))
        for n, task in enumerate(tasks)
        for i, r in enumerate(task.responses)
        if r.model in named - known
    ]
    if problems:
        raise invalid(problems)


def _prompt_rows(session: Session, project: Project, prompts: Sequence[Prompt]) -> dict[str, uuid.UUID]:
    """Ids of the prompts' rows by key, made where missing."""
    rows = {
        prompt.key: {
            "id": uuid.uuid4(),
            "project_id": project.id,
            "key": prompt.key,
            "record": prompt.model_dump(mode="json", exclude_none=True),
        }
        for prompt in prompts
    }
    session.execute(insert(PromptRow).on_conflict_do_nothing(), list(rows.values()))
    found = session.execute(
        select(PromptRow.key, PromptRow.id).where(PromptRow.project_id == project.id, PromptRow.key.in_(rows))
    )
    return {row.key: row.id for row in found}


def show_tasks(session: Session, viewer: Person, tasks: Sequence[Task]) -> list[TaskOut]:
    """Tasks with their responses. Reviewers also rank, so model names are for engineers and admins."""
    ids = [task.id for task in tasks]
    responses, judged = queries.responses_of(session, ids), queries.judged_counts(session, ids)
    tells = viewer.role in (Role.ENGINEER, Role.ADMIN)
    return [
        TaskOut(
            id=task.id,
            kind=task.kind,
            overlap=task.overlap,
            priority=task.priority,
            judged=judged.get(task.id, 0),
            created_at=task.created_at,
            prompt=queries.prompt_of(session, task).record,
            responses=[
                TaskResponseOut(id=row.id, text=row.text, model=row.model_id if tells else None)
                for row in responses[task.id]
            ],
        )
        for task in tasks
    ]
