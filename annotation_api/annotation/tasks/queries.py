"""What is asked of the tables about projects, tasks and places."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from alignment.shared.sentence import Sentence
from annotation_api.db.membership import EVERYTHING
from annotation_api.db.places import is_running, takes_place
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Draft,
    Form,
    GoldItem,
    GoldUse,
    Project,
    ProjectMember,
    PromptRow,
    QualityRules,
    ResponseRow,
    Task,
    TaskResponse,
)
from annotation_api.db.tallies import counts
from annotation_api.http.auth import Someone
from annotation_api.http.errors import ApiError, not_found

NOW = func.clock_timestamp()
HELD = (AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SKIPPED)


def lock_task(session: Session, task_id: uuid.UUID) -> Task:
    """Held until the transaction ends. 404 for one that was just taken out of the queue, as nobody had it."""
    held = select(Task).where(Task.id == task_id).with_for_update(key_share=True)
    found = session.scalars(held, execution_options={"populate_existing": True}).one_or_none()
    if found is None:
        raise not_found("task", task_id)
    return found


def is_erased(session: Session, task: Task) -> bool:
    """Whether its prompt is, and with it all that hangs on it. An erasure that is just at it is waited for."""
    held = select(PromptRow.erased_at).where(PromptRow.id == task.prompt_id).with_for_update(read=True, key_share=True)
    return session.scalar(held) is not None


def refuse_erased(session: Session, task: Task) -> None:
    """409 for whoever would say something more of a task that is erased."""
    if is_erased(session, task):
        raise ApiError(409, "erased", Sentence("task-erased", "This task was erased: nothing more is said of it."))


def free_places(session: Session, task: Task, *, besides: uuid.UUID | None = None) -> int:
    """Free places of a locked task, counted afresh; the assignment `besides` does not count. A gold item has one for
    everybody, unless it is erased."""
    if task.gold:
        return 0 if is_erased(session, task) else 1
    query = select(func.count()).select_from(Assignment).where(Assignment.task_id == task.id, takes_place())
    if besides is not None:
        query = query.where(Assignment.id != besides)
    return task.overlap - (session.scalar(query) or 0)


def expire(session: Session, which: ColumnElement[bool]) -> None:
    """Mark leases that ran out. A row in another's hands is passed over: they are just expiring or renewing it."""
    ended = (
        select(Assignment.id)
        .where(which, Assignment.state == AssignmentState.LEASED, Assignment.lease_until <= NOW)
        .with_for_update(skip_locked=True)
    )
    session.execute(update(Assignment).where(Assignment.id.in_(ended)).values(state=AssignmentState.EXPIRED))


def own_assignment(session: Session, person: Someone, assignment_id: uuid.UUID) -> Assignment | None:
    return session.scalar(select(Assignment).where(Assignment.id == assignment_id, Assignment.person_id == person.id))


def holds_again(session: Session, assignment: Assignment) -> bool:
    """Whether the person of an assignment got the same task anew after this lease ran out."""
    again = select(Assignment.id).where(
        Assignment.task_id == assignment.task_id,
        Assignment.person_id == assignment.person_id,
        Assignment.state.in_(HELD),
        Assignment.id != assignment.id,
    )
    return session.scalar(again) is not None


def draft_of(session: Session, assignment_id: uuid.UUID) -> dict[str, Any] | None:
    return session.scalar(select(Draft.payload).where(Draft.assignment_id == assignment_id))


def responses_of(session: Session, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[ResponseRow]]:
    """Each task's responses in the order of sampling."""
    rows = session.execute(
        select(TaskResponse.task_id, ResponseRow)
        .join(ResponseRow, ResponseRow.id == TaskResponse.response_id)
        .where(TaskResponse.task_id.in_(task_ids))
        .order_by(TaskResponse.task_id, TaskResponse.position)
    )
    found: dict[uuid.UUID, list[ResponseRow]] = {task_id: [] for task_id in task_ids}
    for task_id, response in rows:
        found[task_id].append(response)
    return found


def prompts_of(session: Session, tasks: Collection[Task]) -> dict[uuid.UUID, PromptRow]:
    """The prompts of the tasks by their ids."""
    query = select(PromptRow).where(PromptRow.id.in_({task.prompt_id for task in tasks}))
    return {row.id: row for row in session.scalars(query)}


def projects() -> Select[Project]:
    return select(Project)


def project_named(session: Session, name: str) -> Project | None:
    """Also one that the caller does not see: names are given once."""
    return session.scalar(select(Project).where(Project.name == name), execution_options=EVERYTHING)


def tasks_of(project_id: uuid.UUID) -> Select[Task]:
    return select(Task).where(Task.project_id == project_id)


def judged_counts(session: Session, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    rows = session.execute(
        select(Assignment.task_id, func.count().label("n"))
        .where(Assignment.task_id.in_(task_ids), Assignment.state == AssignmentState.SUBMITTED)
        .group_by(Assignment.task_id)
    )
    return {row.task_id: row.n for row in rows}


def newest_forms(project_ids: Collection[uuid.UUID]) -> Select[Form]:
    """The newest form of each kind that each of the projects asks for."""
    newest = select(Form.id).where(Form.project_id.in_(project_ids)).ext(distinct_on(Form.project_id, Form.kind))
    newest = newest.order_by(Form.project_id, Form.kind, Form.version.desc())
    return select(Form).where(Form.id.in_(newest.subquery().select())).order_by(Form.project_id, Form.kind)


def forms_of(project_id: uuid.UUID) -> Select[Form]:
    """Every version, by kind, newest first."""
    return select(Form).where(Form.project_id == project_id).order_by(Form.kind, Form.version.desc())


def _languages(session: Session, person: Someone, project_id: uuid.UUID) -> Collection[str] | None:
    """Those that the person judges in the project; None: all."""
    member = session.get(ProjectMember, (project_id, person.id))
    return member.languages if member else None


def _unfinished(project_id: uuid.UUID, languages: Collection[str] | None) -> tuple[ColumnElement[bool], ...]:
    """Tasks that want more judgements, in the languages; of a closed project none does."""
    at_work = exists(select(Project.id).where(Project.id == project_id, Project.closed_at.is_(None)))
    found = (Task.project_id == project_id, Task.judged < Task.overlap, at_work)
    if languages is None:
        return found
    language = PromptRow.record["language"].as_string()
    spoken = or_(language.is_(None), language.in_(languages))
    return *found, exists(select(PromptRow.id).where(PromptRow.id == Task.prompt_id, spoken))


def held_by_others(session: Session, person: Someone, project_id: uuid.UUID) -> tuple[int, float]:
    """Tasks that the person may get once others let go of them, and the seconds until the first lease ends.

    It is asked when none is open: one that somebody has let go of since counts, too, for it is there.
    """
    theirs, own = aliased(Assignment, name="theirs"), aliased(Assignment)
    had = select(own.id).where(own.task_id == Task.id, own.person_id == person.id, own.state.in_(HELD))
    query = (
        select(func.count(Task.id.distinct()), func.extract("epoch", func.min(theirs.lease_until) - NOW))
        .outerjoin(theirs, (theirs.task_id == Task.id) & is_running("theirs") & (theirs.person_id != person.id))
        .where(*_unfinished(project_id, _languages(session, person, project_id)), ~exists(had))
    )
    tasks, seconds = session.execute(query).one()
    return tasks, max(float(seconds or 0), 0)


def left_for(session: Session, person: Someone, project_id: uuid.UUID) -> int:
    """Tasks that the person may still get, those in hand included, and those that others hold just now.

    Gold items that are mixed in count like any other task: a number that stood still would give them away.
    """
    return left_of(session, person, [project_id])[project_id]


def left_of(session: Session, person: Someone, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The same of several projects, in as many questions as of one."""
    own = select(ProjectMember.project_id).where(
        ProjectMember.project_id.in_(projects),
        ProjectMember.person_id == person.id,
        ProjectMember.languages.is_not(None),
    )
    limited = set(session.scalars(own))  # in some languages only: there the kept count says too much
    wanted = _open_to_all(session, set(projects) - limited)
    if limited:
        wanted |= _by_project(session, _wanted_by(person, limited))
    had = _by_project(
        session,
        _wanted_by(person, projects)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(
            Assignment.person_id == person.id,
            Assignment.state.in_((AssignmentState.SUBMITTED, AssignmentState.SKIPPED)),
        ),
    )
    plain = {key: wanted.get(key, 0) - had.get(key, 0) for key in projects}
    blind = _by_project(session, _blind_for(person, [key for key, number in plain.items() if number]))
    return {key: number + blind.get(key, 0) for key, number in plain.items()}


def _blind_for(person: Someone, projects: Collection[uuid.UUID]) -> Select[uuid.UUID, int]:
    """How many gold items of each project may come to the person among its tasks, in their languages, or are held."""
    over = Assignment.state != AssignmentState.LEASED
    had = exists().where(Assignment.task_id == GoldItem.task_id, Assignment.person_id == person.id, over)
    return (
        _in_languages_of(person, select(GoldItem.project_id, func.count()).join(Task, Task.id == GoldItem.task_id))
        .join(QualityRules, QualityRules.project_id == GoldItem.project_id)
        .where(GoldItem.project_id.in_(projects), GoldItem.use == GoldUse.MIXED, QualityRules.gold_rate > 0)
        .where(GoldItem.withdrawn_at.is_(None), GoldItem.made_by != person.id, ~had)
        .group_by(GoldItem.project_id)
    )


def _wanted_by(person: Someone, projects: Collection[uuid.UUID]) -> Select[uuid.UUID, int]:
    """How many tasks of each project want more judgements, in the person's languages; of a closed one none does."""
    return (
        _in_languages_of(person, select(Task.project_id, func.count()))
        .join(Project, Project.id == Task.project_id)
        .where(Task.project_id.in_(projects), Task.judged < Task.overlap, Project.closed_at.is_(None))
        .group_by(Task.project_id)
    )


def _in_languages_of(person: Someone, tasks: Select[uuid.UUID, int]) -> Select[uuid.UUID, int]:
    """Of the tasks that are asked about, those that the person judges."""
    language = PromptRow.record["language"].as_string()
    spoken = or_(ProjectMember.languages.is_(None), language.is_(None), language == func.any(ProjectMember.languages))
    mine = (ProjectMember.project_id == Task.project_id) & (ProjectMember.person_id == person.id)
    return tasks.join(PromptRow, PromptRow.id == Task.prompt_id).outerjoin(ProjectMember, mine).where(spoken)


def _by_project(session: Session, query: Select[uuid.UUID, int]) -> dict[uuid.UUID, int]:
    return {row[0]: row[1] for row in session.execute(query)}


def _open_to_all(session: Session, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The projects' kept counts; none of those that are closed."""
    at_work = session.scalars(select(Project.id).where(Project.id.in_(projects), Project.closed_at.is_(None))).all()
    return {key: counted.open for key, counted in counts.progress_of(session, at_work).items()}
