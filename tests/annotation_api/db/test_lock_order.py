"""People, then tasks, then assignments: two who meet half way never wait for each other.

One session holds what a claim or an answer holds, another is at the same rows in a thread and waits. What the first one
takes next must be free then (NOWAIT): a wait for it would be a deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.records import Prompt
from annotation_api.annotation.projects.from_dataset import add_from_dataset
from annotation_api.annotation.projects.schemas import FromDataset
from annotation_api.annotation.tasks.queries import lock_task
from annotation_api.db import places, tasks
from annotation_api.db.engine import make_engine, parse_url, session_factory
from annotation_api.db.erasing import erasures
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.locks import Lock, lock_person
from annotation_api.db.tables import (
    AliasMove,
    Assignment,
    AssignmentState,
    Draft,
    Erasure,
    LoginSession,
    PasswordReset,
    Person,
    Project,
    PromptRow,
    Role,
    Task,
)
from annotation_api.http import auth
from annotation_api.models import service as models
from annotation_api.people import service
from annotation_api.people.schemas import PersonChange
from tests.support.databases import is_waited
from tests.support.engine_room import poll
from tests.support.planted import WORD, Planted

HOUR = timedelta(hours=1)


@contextmanager
def beside(engine: Engine, work: Callable[[Session], object]) -> Iterator[Future[None]]:
    """`work` in another transaction, which waits for a lock now, or is done."""

    def run() -> None:
        with session_factory(engine).begin() as session:
            work(session)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run)
        poll(lambda: future.done() or is_waited(engine), "the other to wait or to be done")
        yield future


def free(session: Session, table: Any, *which: Any) -> int:
    """Lock rows that must be in nobody's hands; how many."""
    return len(session.scalars(select(table).where(*which).with_for_update(nowait=True)).all())


@pytest.fixture
def at_work(fresh_engine: Engine, factory: Any) -> tuple[Task, Task, Person, Person]:
    """Two tasks of a closed project in the hands of somebody who is no member, and an admin."""
    with session_factory(fresh_engine)() as session:
        make = factory(session)
        project, person, admin = make.project(open=False), make.person(Role.ANNOTATOR), make.person(Role.ADMIN)
        rows = [make.task(make.prompt(project, words)) for words in ("one", "two")]
        for task in rows:
            held = make.assignment(task, person, state=AssignmentState.LEASED, lease_until=datetime.now(UTC) + HOUR)
            session.add(Draft(assignment_id=held.id, payload={}))
        session.add(LoginSession(token_hash="a" * 64, person_id=person.id, expires_at=datetime.now(UTC) + HOUR))
        session.add(PasswordReset(token_hash="b" * 64, person_id=person.id, expires_at=datetime.now(UTC) + HOUR))
        session.commit()
        return rows[0], rows[1], person, admin


LEAVING: dict[str, Callable[[Session, Person, Task], object]] = {
    "retired": lambda session, person, _task: service.change_person(session, person.id, PersonChange(active=False)),
    "erased": lambda session, person, _task: service.erase(session, person.id),
    "let out": lambda session, _person, task: places.give_back_unseen(session, task.project_id),
}


@pytest.mark.parametrize("how", LEAVING)
def test_who_leaves_while_answering_keeps_nobody_waiting_in_a_circle(
    fresh_engine: Engine, at_work: tuple[Task, Task, Person, Person], how: str
) -> None:
    """The person's own request holds their row and a task, and takes the lease and the rest of what is theirs next."""
    first, _, person, _ = at_work
    mine = (Assignment.person_id == person.id,)
    with Session(fresh_engine) as own:
        lock_person(own, person.id)
        lock_task(own, first.id)
        with beside(fresh_engine, lambda session: LEAVING[how](session, person, first)) as leaving:
            assert not leaving.done()
            assert free(own, Assignment, *mine) == 2
            assert free(own, LoginSession, LoginSession.person_id == person.id) == 1
            assert free(own, PasswordReset, PasswordReset.person_id == person.id) == 1
            own.commit()
            leaving.result()
    with Session(fresh_engine) as session:
        assert set(session.scalars(select(Assignment.state).where(*mine))) == {AssignmentState.EXPIRED}


def test_a_role_is_changed_while_an_admin_makes_something(
    fresh_engine: Engine, at_work: tuple[Task, Task, Person, Person]
) -> None:
    """A long import refers to its maker all the while."""
    *_, person, admin = at_work
    with Session(fresh_engine) as importing:
        importing.add(Project(name="in the making", created_by=admin.id))
        importing.flush()
        promoting = lambda session: service.change_person(session, person.id, PersonChange(role=Role.REVIEWER))  # noqa: E731
        with beside(fresh_engine, promoting) as promoted:
            assert promoted.done()
            promoted.result()


def test_a_sign_in_that_is_seen_again_is_held_by_nobody_who_waits_for_the_person(
    fresh_engine: Engine, at_work: tuple[Task, Task, Person, Person]
) -> None:
    with session_factory(fresh_engine)() as session:
        person = session.get_one(Person, at_work[2].id)
        token = auth.start_session(session, person)
        session.execute(update(LoginSession).values(seen_at=func.now() - 2 * auth.SEEN_EVERY))
        session.commit()
    with Session(fresh_engine) as page, Session(fresh_engine) as other:
        assert auth.person_of_session(page, token) is not None
        lock_person(other, person.id)
        assert free(other, LoginSession) == 2


# ---------------------------------------------------------------- erasing


def whole(planted: Planted) -> Erasure:
    target = {"project": str(planted.project.id)}
    values = {"target": target, "project_id": planted.project.id, "reason": "asked", "counts": {}}
    return Erasure(scope=ErasureScope.PROJECT, created_by=planted.owner.id, **values)


@pytest.fixture
def planted(fresh_engine: Engine, factory: Any, tmp_path: Path) -> Iterator[Planted]:
    with session_factory(fresh_engine)() as session:
        made = Planted(session, factory(session), tmp_path)
        session.commit()
        yield made


def begin(planted: Planted, erasure: Erasure) -> None:
    erasures.begin(planted.session, erasure)
    planted.session.commit()


def test_an_answer_to_what_is_being_erased_is_given_or_refused(fresh_engine: Engine, planted: Planted) -> None:
    begin(planted, whole(planted))
    sessions, task = session_factory(fresh_engine), planted.task.id
    with Session(fresh_engine) as own:
        lock_task(own, task)
        with beside(fresh_engine, lambda _: erasures.work_off(sessions, planted.home)) as erasing:
            assert not erasing.done()
            held = select(Assignment.id).where(Assignment.task_id == task)
            assert free(own, Assignment, Assignment.task_id == task) > 1
            assert free(own, Draft, Draft.assignment_id.in_(held)) == 1
            assert free(own, PromptRow, PromptRow.id == planted.prompt.id) == 1
            own.commit()
            erasing.result()
    with Session(fresh_engine) as session:
        assert session.scalars(select(Erasure.state)).one() == "succeeded"


def test_a_draft_of_a_person_whose_answers_go_waits_for_nobody_who_waits(
    fresh_engine: Engine, planted: Planted
) -> None:
    held = planted.session.scalars(select(Draft.assignment_id)).one()
    person = planted.session.get_one(Assignment, held).person_id
    target = {"person": str(person)}
    values = {"target": target, "reason": "asked", "counts": {}, "created_by": planted.owner.id}
    begin(planted, Erasure(scope=ErasureScope.PERSON, **values))
    sessions = session_factory(fresh_engine)
    with Session(fresh_engine) as own:
        own.execute(select(Assignment.id).where(Assignment.id == held).with_for_update(read=True))
        with beside(fresh_engine, lambda _: erasures.work_off(sessions, planted.home)) as erasing:
            assert free(own, Draft) == 1
            own.commit()
            erasing.result()


def test_what_a_fill_read_before_it_was_erased_is_erased_too(fresh_engine: Engine, planted: Planted) -> None:
    """The rows of the data set are empty, and what they became in a project is not left."""
    project = planted.make.project()
    sought = [{"role": message.role, "content": message.content} for message in planted.asks.messages]
    values = {"target": {"key": planted.asks.key}, "sought": sought, "reason": "asked", "counts": {}}
    begin(planted, Erasure(scope=ErasureScope.RECORD, created_by=planted.owner.id, **values))
    sessions = session_factory(fresh_engine)
    with sessions() as filling:
        added = add_from_dataset(filling, filling.get_one(Project, project.id), FromDataset(dataset=planted.dataset.id))
        assert added.tasks == 2
        with beside(fresh_engine, lambda _: erasures.work_off(sessions, planted.home)) as erasing:
            filling.commit()
            erasing.result()
    with Session(fresh_engine) as session:
        records = session.scalars(select(PromptRow.record).where(PromptRow.project_id == project.id)).all()
        assert len(records) == 2
        assert not [record for record in records if WORD in str(record)]


def test_an_erasure_that_waited_in_vain_rests_and_goes_on(fresh_database: str, planted: Planted) -> None:
    begin(planted, whole(planted))
    url = parse_url(fresh_database).update_query_dict({"options": "-c lock_timeout=100ms"})
    hasty = make_engine(url.render_as_string(hide_password=False))
    with Session(planted.session.get_bind()) as freezing:
        freezing.execute(select(func.pg_advisory_xact_lock_shared(int(Lock.FREEZING))))
        assert erasures.work_off(sessionmaker(hasty, expire_on_commit=False), planted.home) == 0
        row = freezing.scalars(select(Erasure)).one()
        assert (row.state, row.step) == ("running", "waits for others")
        assert row.lease_until is not None
        freezing.rollback()
    planted.session.execute(text("UPDATE erasures SET lease_until = now() - interval '1 second'"))
    planted.session.commit()
    assert erasures.work_off(sessionmaker(hasty, expire_on_commit=False), planted.home) == 1
    hasty.dispose()


# ---------------------------------------------------------------- many rows at once


def test_equal_prompts_are_made_in_one_order_by_all(fresh_engine: Engine, factory: Any) -> None:
    with session_factory(fresh_engine)() as session:
        project = factory(session).project().id
        session.commit()
    low, high = sorted((Prompt.from_text("one"), Prompt.from_text("two")), key=lambda prompt: prompt.key)
    with Session(fresh_engine) as first:
        tasks.prompt_ids(first, project, [low])
        with beside(fresh_engine, lambda session: tasks.prompt_ids(session, project, [high, low])) as other:
            assert not other.done()
            first.execute(text("SET LOCAL lock_timeout = '50ms'"))
            tasks.prompt_ids(first, project, [high])
            first.commit()
            other.result()


def test_two_who_promote_the_same_model_leave_one_move(fresh_engine: Engine, factory: Any) -> None:
    with session_factory(fresh_engine)() as session:
        model, person = factory(session).model(), factory(session).person()
        session.commit()
    promote = lambda session: models.point_alias(session, person, "best", model.id)  # noqa: E731
    with Session(fresh_engine) as first:
        promote(first)
        with beside(fresh_engine, promote) as other:
            assert not other.done()
            first.commit()
            other.result()
        assert len(first.scalars(select(AliasMove)).all()) == 1
