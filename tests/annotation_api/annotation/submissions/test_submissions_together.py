"""Judgements under real concurrency: sent twice, late, and for one place by several."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from annotation_api.annotation.queue import service as queue
from annotation_api.annotation.submissions import service
from annotation_api.annotation.submissions.schemas import NewRanking
from annotation_api.db.tables import Assignment, AssignmentState, Person, Role, Submission, Task
from annotation_api.http.errors import ApiError

AT_ONCE = 8


def _claimed(engine: Engine, factory, *, people: int = 1, overlap: int = 1) -> list[tuple[uuid.UUID, Assignment]]:
    """One task, claimed by each of the people, whose earlier claims are let run out."""
    with Session(engine, expire_on_commit=False) as session:
        make = factory(session)
        project = make.project()
        make.task(make.prompt(project), overlap=overlap)
        persons = [make.person(Role.ANNOTATOR) for _ in range(people)]
        session.commit()
        found = []
        for person in persons:
            held = queue.next_assignment(session, person, project)
            session.commit()
            session.execute(text("UPDATE assignments SET lease_until = clock_timestamp()"))
            session.commit()
            found.append((person.id, session.get_one(Assignment, held.id)))
        return found


def _send(engine: Engine, person: uuid.UUID, assignment: Assignment, key: uuid.UUID) -> str:
    body = {"id": key, "assignment": assignment.id, "payload": {"groups": [[x] for x in assignment.display_order]}}
    with Session(engine) as session:
        try:
            _, new = service.submit(session, session.get_one(Person, person), NewRanking.model_validate(body))
            session.commit()
        except ApiError as error:
            return error.slug
        return "new" if new else "again"


def _all_at_once(calls: list[Callable[[], str]]) -> Counter[str]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(lambda call: call(), calls))


def _stored(engine: Engine) -> tuple[int, int, int]:
    """Submissions, places that are judged, and what the task's counter says."""
    with Session(engine) as session:
        submitted = select(func.count()).where(Assignment.state == AssignmentState.SUBMITTED)
        counts = select(func.count()).select_from(Submission), submitted, select(func.sum(Task.judged))
        return tuple(session.scalar(count) for count in counts)


def test_the_same_answer_sent_many_times_at_once_is_one(fresh_engine: Engine, factory) -> None:
    ((person, held),), key = _claimed(fresh_engine, factory), uuid.uuid4()
    said = _all_at_once([lambda: _send(fresh_engine, person, held, key)] * AT_ONCE)
    assert said == {"new": 1, "again": AT_ONCE - 1}
    assert _stored(fresh_engine) == (1, 1, 1)


def test_of_many_answers_at_once_from_many_tabs_the_first_counts(fresh_engine: Engine, factory) -> None:
    ((person, held),) = _claimed(fresh_engine, factory)
    said = _all_at_once([lambda: _send(fresh_engine, person, held, uuid.uuid4())] * AT_ONCE)
    assert said == {"new": 1, "already-submitted": AT_ONCE - 1}
    assert _stored(fresh_engine) == (1, 1, 1)


def test_late_people_never_share_the_last_places(fresh_engine: Engine, factory) -> None:
    """Eight people hold leases that ran out, for two places; all of them send at the same moment."""
    claimed = _claimed(fresh_engine, factory, people=AT_ONCE, overlap=2)
    calls = [lambda who=who, held=held: _send(fresh_engine, who, held, uuid.uuid4()) for who, held in claimed]
    assert _all_at_once(calls) == {"new": 2, "lease-ended": AT_ONCE - 2}
    assert _stored(fresh_engine) == (2, 2, 2)


def test_one_id_used_by_two_people_is_the_firsts(fresh_engine: Engine, factory) -> None:
    claimed, key = _claimed(fresh_engine, factory, people=2, overlap=2), uuid.uuid4()
    said = _all_at_once([lambda who=who, held=held: _send(fresh_engine, who, held, key) for who, held in claimed])
    assert said == {"new": 1, "submission-id-taken": 1}
    assert _stored(fresh_engine) == (1, 1, 1)
