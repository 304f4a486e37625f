"""`next` under real concurrency: many people, many connections, no task over its overlap."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from annotation_api.annotation.queue import claims, service
from annotation_api.annotation.tasks import queries
from annotation_api.db import places
from annotation_api.db.tables import Assignment, AssignmentState, Person, Project, Role, Task
from annotation_api.http.errors import ApiError
from tests.support.databases import is_waited
from tests.support.engine_room import poll

TASKS, OVERLAP, PEOPLE = 10, 3, 12


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claimers look again for as long as others need."""
    monkeypatch.setattr(service, "PATIENCE", 600.0)


def _fill(engine: Engine, factory, *, lease_seconds: int = 300) -> tuple[uuid.UUID, list[uuid.UUID]]:
    with Session(engine) as session:
        make = factory(session)
        project = make.project(lease_seconds=lease_seconds)
        for number in range(TASKS):
            make.task(make.prompt(project, f"question {number}"), ("a", "b", "c"), overlap=OVERLAP)
        people = [make.person(Role.ANNOTATOR).id for _ in range(PEOPLE)]
        session.commit()
        return project.id, people


def _claim(engine: Engine, project_id: uuid.UUID, person_id: uuid.UUID) -> uuid.UUID | None:
    with Session(engine) as session:
        person, project = session.get_one(Person, person_id), session.get_one(Project, project_id)
        found = service.next_assignment(session, person, project)
        session.commit()
        return found.id if found else None


def _finish(engine: Engine, assignment_id: uuid.UUID) -> None:
    with Session(engine) as session:
        session.get_one(Assignment, assignment_id).state = AssignmentState.SUBMITTED
        session.commit()


def _judged(engine: Engine) -> list[tuple[uuid.UUID, uuid.UUID]]:
    with Session(engine) as session:
        query = select(Assignment.task_id, Assignment.person_id)
        rows = session.execute(query.where(Assignment.state == AssignmentState.SUBMITTED))
        return [(task, person) for task, person in rows]


def test_everybody_at_once_gets_exactly_the_overlap(fresh_engine: Engine, factory) -> None:
    """12 people work until nothing is left: each task has 3 judgements by 3 people, none is forgotten."""
    project, people = _fill(fresh_engine, factory)
    gate = threading.Barrier(PEOPLE)

    def work(person: uuid.UUID) -> None:
        gate.wait()
        while (assignment := _claim(fresh_engine, project, person)) is not None:
            _finish(fresh_engine, assignment)

    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(work, people))
    judged = _judged(fresh_engine)
    assert sorted(Counter(task for task, _ in judged).values()) == [OVERLAP] * TASKS
    assert len(judged) == len(set(judged)) == TASKS * OVERLAP


def test_leases_alone_fill_the_places_exactly(fresh_engine: Engine, factory) -> None:
    """Nobody submits: with places for 2.5 leases each, all 30 places go out and not one more."""
    project, people = _fill(fresh_engine, factory)
    with Session(fresh_engine) as session:
        make = factory(session)
        people += [make.person(Role.ANNOTATOR).id for _ in range(40 - PEOPLE)]
        session.commit()
    gate = threading.Barrier(20)

    def claim(person: uuid.UUID) -> uuid.UUID | None:
        gate.wait()
        return _claim(fresh_engine, project, person)

    with ThreadPoolExecutor(20) as pool:
        got = [assignment for assignment in pool.map(claim, people) if assignment]
    assert len(got) == TASKS * OVERLAP
    with Session(fresh_engine) as session:
        counts = session.scalars(select(func.count()).select_from(Assignment).group_by(Assignment.task_id)).all()
    assert list(counts) == [OVERLAP] * TASKS


def test_one_person_in_many_tabs_has_one_task(fresh_engine: Engine, factory) -> None:
    project, people = _fill(fresh_engine, factory)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: _claim(fresh_engine, project, people[0]), range(8)))
    assert len(set(got)) == 1


def test_leases_that_run_out_in_the_rush_never_overfill(fresh_engine: Engine, factory) -> None:
    """Half of the leases are let run out while others claim; late finishers count only if their place is free."""
    project, people = _fill(fresh_engine, factory)
    chance = random.Random(3)

    def work(person: uuid.UUID) -> None:
        for _ in range(TASKS * 3):
            assignment = _claim(fresh_engine, project, person)
            if assignment is None:
                return
            if chance.random() < 0.5:
                _finish(fresh_engine, assignment)
            else:
                with fresh_engine.begin() as connection:
                    connection.execute(
                        text("UPDATE assignments SET lease_until = clock_timestamp() WHERE id = :id"),
                        {"id": assignment},
                    )

    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(work, people))
    counts = Counter(task for task, _ in _judged(fresh_engine))
    assert max(counts.values()) <= OVERLAP
    assert len(_judged(fresh_engine)) == len(set(_judged(fresh_engine)))


def test_a_lease_that_another_expires_meanwhile_is_not_revived(
    fresh_engine: Engine, factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease ran out; just before its holder gets the task's lock, another claimer marks it expired."""
    project, people = _fill(fresh_engine, factory)
    old = _claim(fresh_engine, project, people[0])
    with fresh_engine.begin() as connection:
        connection.execute(text("UPDATE assignments SET lease_until = clock_timestamp()"))
    lock = queries.lock_task

    def overtaken(session: Session, task_id: uuid.UUID) -> Task:
        with fresh_engine.begin() as connection:
            connection.execute(text("UPDATE assignments SET state = 'expired' WHERE id = :id"), {"id": old})
        return lock(session, task_id)

    monkeypatch.setattr(queries, "lock_task", overtaken)
    new = _claim(fresh_engine, project, people[0])
    assert new is not None
    assert new != old
    with Session(fresh_engine) as session:
        assert session.get_one(Assignment, old).state == AssignmentState.EXPIRED
        assert session.get_one(Assignment, new).state == AssignmentState.LEASED


@pytest.mark.parametrize("takes_it", [False, True])
def test_a_place_in_anothers_hands_is_waited_for(fresh_engine: Engine, factory, takes_it: bool) -> None:
    """The only open task is locked by somebody who may take it or not: only then it is known whether any is left."""
    with Session(fresh_engine) as session:
        make = factory(session)
        project = make.project()
        task = make.task(make.prompt(project), overlap=1)
        one, two = (make.person(Role.ANNOTATOR) for _ in range(2))
        session.commit()
        ids = (project.id, task.id, one.id, two.id)
    project_id, task_id, holder, waiter = ids
    with ThreadPoolExecutor(1) as pool, Session(fresh_engine) as session:
        queries.lock_task(session, task_id)
        waiting = pool.submit(_claim, fresh_engine, project_id, waiter)
        time.sleep(0.2)
        assert not waiting.done()
        if takes_it:
            person, project = session.get_one(Person, holder), session.get_one(Project, project_id)
            assert service.next_assignment(session, person, project) is not None
        session.commit()
        assert (waiting.result() is None) is takes_it


def test_a_claimer_does_not_wait_for_ever(fresh_engine: Engine, factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PATIENCE", 0.2)
    project, people = _fill(fresh_engine, factory)
    with Session(fresh_engine) as session:
        session.execute(select(Task).with_for_update())
        with pytest.raises(ApiError, match="Try again"):
            _claim(fresh_engine, project, people[0])


def test_many_tabs_of_one_person_hold_two_tasks(fresh_engine: Engine, factory) -> None:
    project_id, people = _fill(fresh_engine, factory)
    first = _claim(fresh_engine, project_id, people[0])

    def ahead(_: int) -> uuid.UUID:
        with Session(fresh_engine) as session:
            person, project = session.get_one(Person, people[0]), session.get_one(Project, project_id)
            found = service.next_assignment(session, person, project, besides=first)
            session.commit()
            return found.id

    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(ahead, range(8)))
    assert len(got) == 1
    assert first not in got


def test_the_orders_shown_in_a_rush_are_balanced(fresh_engine: Engine, factory) -> None:
    """Four people at once on a task of four responses: each response stands once in each place."""
    with Session(fresh_engine) as session:
        make = factory(session)
        project = make.project()
        make.task(make.prompt(project), ("a", "b", "c", "d"), overlap=4)
        people = [make.person(Role.ANNOTATOR).id for _ in range(4)]
        session.commit()
        project_id = project.id
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda person: _claim(fresh_engine, project_id, person), people))
    with Session(fresh_engine) as session:
        orders = session.scalars(select(Assignment.display_order)).all()
    assert all(len({order[place] for order in orders}) == 4 for place in range(4))


def test_a_task_that_filled_up_before_the_lock_is_passed_over(
    fresh_engine: Engine, factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look said open; when the lock is there, another has the last place."""
    with Session(fresh_engine) as session:
        make = factory(session)
        project = make.project()
        full, other = (make.task(make.prompt(project, name), overlap=1, priority=n) for n, name in ((1, "a"), (0, "b")))
        one, two = (make.person(Role.ANNOTATOR).id for _ in range(2))
        session.commit()
        project_id, full_id, other_id = project.id, full.id, other.id
    _claim(fresh_engine, project_id, one)
    look, seen = claims.lock_first_free, []

    def outdated(session: Session, person: Person, project: uuid.UUID, passed: set[uuid.UUID]) -> uuid.UUID | None:
        seen.append(set(passed))
        return queries.lock_task(session, full_id).id if len(seen) == 1 else look(session, person, project, passed)

    monkeypatch.setattr(claims, "lock_first_free", outdated)
    held = _claim(fresh_engine, project_id, two)
    assert seen == [set(), {full_id}]
    with Session(fresh_engine) as session:
        assert session.get_one(Assignment, held).task_id == other_id
        assert session.scalar(select(func.count()).where(Assignment.task_id == full_id)) == 1


def test_leases_end_in_the_order_of_their_ids_so_that_two_who_end_them_never_wait_for_each_other(
    fresh_engine: Engine, factory
) -> None:
    """A person leaves while the project closes its doors: both end the same leases."""
    with Session(fresh_engine) as session:
        make = factory(session)
        project, person = make.project(), make.person(Role.ANNOTATOR)
        hour = datetime.now(UTC) + timedelta(hours=1)
        for number in range(TASKS):
            task = make.task(make.prompt(project, f"question {number}"), ("a", "b"))
            make.assignment(task, person, state=AssignmentState.LEASED, lease_until=hour)
        session.commit()
        keys = sorted(session.scalars(select(Assignment.id)))
        whose = Assignment.person_id == person.id
    with Session(fresh_engine) as first, Session(fresh_engine) as other, ThreadPoolExecutor(1) as pool:
        first.execute(select(Assignment.id).where(Assignment.id == keys[0]).with_for_update())
        ending = pool.submit(places.give_back, other, whose)
        poll(lambda: is_waited(fresh_engine), "the other to wait for the first lease")
        first.execute(select(Assignment.id).where(Assignment.id.in_(keys)).with_for_update(nowait=True))
        first.rollback()
        assert ending.result() == TASKS
