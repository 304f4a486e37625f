"""The job state machine under real concurrency: several connections, real commits."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint
from annotation_api.db.jobs import graph as job_graph
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, CancelRequested, Failure, JobError, ModelToRegister, Wish
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, JobAttempt, JobEventRow, JobState, ModelKind, ModelVersion

MODEL = ModelToRegister("m", ModelKind.SFT, "/a", None)


def setup_jobs(engine: Engine, factory: Any, count: int) -> list[Any]:
    with Session(engine) as session:
        make = factory(session)
        person = make.person()
        ids = [make.job(created_by=person.id).id for _ in range(count)]
        session.commit()
    return ids


def together(*work: Callable[[], Any]) -> list[Any]:
    """Run each in a thread of its own, all from one starting shot."""
    shot = threading.Barrier(len(work))

    def run(each: Callable[[], Any]) -> Any:
        shot.wait()
        return each()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(run, each) for each in work]]


def test_claimers_never_share_a_job(fresh_engine: Engine, factory: Any) -> None:
    ids = setup_jobs(fresh_engine, factory, 60)

    def claim_all() -> list[Any]:
        got = []
        with Session(fresh_engine) as session:
            while job := job_store.claim(session, threading.current_thread().name, 30):
                got.append(job.id)
                session.commit()
        return got

    claimed = [job_id for got in together(*[claim_all] * 6) for job_id in got]
    assert sorted(claimed) == sorted(ids)


def test_a_claimer_does_not_wait_for_another(fresh_engine: Engine, factory: Any) -> None:
    first, second = setup_jobs(fresh_engine, factory, 2)
    with Session(fresh_engine) as slow, Session(fresh_engine) as quick:
        quick.execute(text("SET lock_timeout = '1s'"))
        taken = [job_store.claim(session, "w", 30) for session in (slow, quick)]  # slow has not committed
        assert [job and job.id for job in taken] == [first, second]
        assert job_store.claim(quick, "w", 30) is None


def test_a_session_that_saw_the_job_before_sees_what_others_did(fresh_engine: Engine, factory: Any) -> None:
    (job_id,) = setup_jobs(fresh_engine, factory, 1)
    with Session(fresh_engine, expire_on_commit=False) as launcher, Session(fresh_engine) as api:
        job = job_store.claim(launcher, "w", 30)
        launcher.commit()
        job_requests.request_cancel(api, job_id)
        api.commit()
        assert job is not None
        assert job_store.renew(launcher, job_id, 1, 30) is Wish.CANCEL


def test_cancel_racing_finish_leaves_one_truth(fresh_engine: Engine, factory: Any) -> None:
    ids = setup_jobs(fresh_engine, factory, 40)
    outcomes = set()
    for job_id in ids:
        with Session(fresh_engine) as session:
            job_store.claim(session, "w", 30)
            job_store.mark_running(session, job_id, 1)
            session.commit()

        def finish(job_id: Any = job_id) -> None:
            with Session(fresh_engine) as session:
                try:
                    job_store.mark_committing(session, job_id, 1)
                    session.commit()
                    job_store.commit_success(session, job_id, 1, result={}, artifacts=[], model=MODEL)
                except CancelRequested:
                    job_store.mark_cancelled(session, job_id, 1)
                session.commit()

        def cancel(job_id: Any = job_id) -> None:
            with Session(fresh_engine) as session:
                job_requests.request_cancel(session, job_id)
                session.commit()

        together(*random.Random(str(job_id)).sample([finish, cancel], 2))
        with Session(fresh_engine) as session:
            job = session.get_one(Job, job_id)
            models = session.scalar(select(func.count()).select_from(ModelVersion).where(ModelVersion.job_id == job_id))
            outcomes.add((job.state, models))
    assert outcomes <= {(JobState.SUCCEEDED, 1), (JobState.CANCELLED, 0)}


def test_two_needs_that_finish_together_unblock_their_dependant(fresh_engine: Engine, factory: Any) -> None:
    for _ in range(15):
        with Session(fresh_engine) as session:
            make = factory(session)
            person = make.person().id
            needs = [make.job(created_by=person).id for _ in range(2)]
            both = make.job(Stage.PPO, created_by=person, needs=needs).id
            for _ in needs:
                job = job_store.claim(session, "w", 30)
                assert job is not None
                job_store.mark_running(session, job.id, 1)
                job_store.mark_committing(session, job.id, 1)
            session.commit()

        def finish(job_id: Any) -> None:
            with Session(fresh_engine) as session:
                job_store.commit_success(session, job_id, 1, result={}, artifacts=[])
                session.commit()

        together(lambda a=needs[0]: finish(a), lambda b=needs[1]: finish(b))
        with Session(fresh_engine) as session:
            job = job_store.claim(session, "w", 30)
            assert job is not None
            assert job.id == both
            session.commit()


def test_an_expired_job_is_taken_back_once(fresh_engine: Engine, factory: Any) -> None:
    ids = setup_jobs(fresh_engine, factory, 8)
    with Session(fresh_engine) as session:
        for _ in ids:
            job_store.claim(session, "w", -1)
        session.commit()

    def take_back() -> list[Any]:
        with Session(fresh_engine) as session:
            taken = [job.id for job in job_store.requeue_expired(session)]
            session.commit()
        return taken

    taken = [job_id for each in together(*[take_back] * 4) for job_id in each]
    assert sorted(taken) == sorted(ids)


def test_events_from_two_writers_have_no_gap(fresh_engine: Engine, factory: Any) -> None:
    (job_id,) = setup_jobs(fresh_engine, factory, 1)
    with Session(fresh_engine) as session:
        job_store.claim(session, "w", 30)
        session.commit()

    def write() -> None:
        for number in range(20):
            with Session(fresh_engine) as session:
                job_store.append_events(session, job_id, 1, [Event.note(str(number))] * 2)
                session.commit()

    together(write, write, write)
    with Session(fresh_engine) as session:
        numbers = session.scalars(
            select(JobEventRow.seq).where(JobEventRow.job_id == job_id).order_by(JobEventRow.seq)
        ).all()
    assert list(numbers) == list(range(1, 2 + 3 * 20 * 2 + 1))


VERBS: dict[str, Callable[[Session, Job, int], object]] = {
    "claim": lambda s, j, e: job_store.claim(s, "w", 30),
    "renew": lambda s, j, e: job_store.renew(s, j.id, e, 30),
    "running": lambda s, j, e: job_store.mark_running(s, j.id, e),
    "note": lambda s, j, e: job_store.append_events(s, j.id, e, [Event.note("x")]),
    "committing": lambda s, j, e: job_store.mark_committing(s, j.id, e),
    "commit": lambda s, j, e: job_store.commit_success(s, j.id, e, result={}, artifacts=[], model=MODEL),
    "fail": lambda s, j, e: job_store.fail(s, j.id, e, Failure(ErrorKind.DIVERGED, "NaN."), Again.NEVER),
    "again": lambda s, j, e: job_store.fail(s, j.id, e, Failure(ErrorKind.CRASH, "Died."), Again.CRASH),
    "release": lambda s, j, e: job_store.release(s, j.id, e),
    "cancelled": lambda s, j, e: job_store.mark_cancelled(s, j.id, e),
    "cancel": lambda s, j, e: job_requests.request_cancel(s, j.id),
    "pause": lambda s, j, e: job_requests.request_pause(s, j.id),
    "resume": lambda s, j, e: job_requests.resume(s, j.id),
    "paused": lambda s, j, e: job_store.mark_paused(s, j.id, e),
    "saved": lambda s, j, e: job_store.record_checkpoint(s, j.id, e, SavedCheckpoint(f"{e}/c-1", 1, "c" * 64, 9, 0.1)),
    "interrupted": lambda s, j, e: job_store.fail(s, j.id, e, Failure(ErrorKind.CLUSTER, "Gone."), Again.INTERRUPTED),
    "retry": lambda s, j, e: job_requests.retry(s, j.id),
    "expire": lambda s, j, e: s.execute(
        text("UPDATE jobs SET lease_until = '2000-01-01' WHERE lease_until IS NOT NULL")
    ),
    "requeue": lambda s, j, e: job_store.requeue_expired(s),
    "wait": lambda s, j, e: s.execute(text("UPDATE jobs SET not_before = NULL")),
    "finish": lambda s, j, e: finish_next(s),  # without it, a random walk hardly ever gets to an end
}


def finish_next(session: Session) -> None:
    if job := job_store.claim(session, "w", 30):
        job_store.mark_running(session, job.id, job.epoch)
        job_store.mark_committing(session, job.id, job.epoch)
        job_store.commit_success(session, job.id, job.epoch, result={}, artifacts=[], model=MODEL)


Call = tuple[str, int, int]
CALLS = st.lists(st.tuples(st.sampled_from(sorted(VERBS)), st.integers(0, 3), st.integers(0, 1)), max_size=25)
walks = partial(settings, suppress_health_check=[HealthCheck.function_scoped_fixture])


@walks(max_examples=15)
@given(CALLS)
def test_no_sequence_of_calls_breaks_the_invariants(engine: Engine, factory: Any, calls: list[Call]) -> None:
    walk(engine, factory, calls)


@pytest.mark.deep(reason="twenty times as many of the same random walks")
@walks(max_examples=300)
@given(CALLS)
def test_none_of_many_sequences_breaks_the_invariants(engine: Engine, factory: Any, calls: list[Call]) -> None:
    walk(engine, factory, calls)


def walk(engine: Engine, factory: Any, calls: list[Call]) -> None:
    """Any verb on any job of a small graph, with the true epoch or the one before it."""
    with engine.connect() as connection, connection.begin() as outer:
        session = Session(connection, join_transaction_mode="create_savepoint")
        make = factory(session)
        one = make.job()
        two = make.job(Stage.REWARD, needs=[one.id])
        jobs = [one, two, make.job(Stage.PPO, needs=[one.id, two.id]), make.job(max_attempts=2)]
        for verb, which, stale in calls:
            before = {job.id: (job.state, job.epoch) for job in jobs}
            try:
                with session.begin_nested():
                    VERBS[verb](session, jobs[which], jobs[which].epoch - stale)
            except JobError:
                session.expire_all()
                assert {job.id: (job.state, job.epoch) for job in jobs} == before
            session.expire_all()
            check_invariants(session, jobs)
        session.close()
        outer.rollback()


def attempts_of(session: Session, job: Job) -> list[JobAttempt]:
    return list(session.scalars(select(JobAttempt).where(JobAttempt.job_id == job.id)))


def check_invariants(session: Session, jobs: list[Job]) -> None:
    for job in jobs:
        events = session.scalars(
            select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(JobEventRow.seq)
        ).all()
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert [e.data["state"] for e in events if e.type == "state"][-1] == job.state.value
        models = session.scalar(select(func.count()).select_from(ModelVersion).where(ModelVersion.job_id == job.id))
        assert models == (job.state is JobState.SUCCEEDED)
        assert job.attempts <= job.max_attempts
        needs = {need.state for need in job_graph.needs(session, job.id)}
        at_work = [a for a in attempts_of(session, job) if a.outcome is None]
        assert [a.epoch for a in at_work] == ([job.epoch] if job.lease_until else [])
        assert len(attempts_of(session, job)) == job.epoch
        if job.state not in (JobState.BLOCKED, JobState.PAUSED, JobState.CANCELLED):
            assert needs <= {JobState.SUCCEEDED}
        if job.state is JobState.BLOCKED:
            assert not needs & {JobState.FAILED, JobState.CANCELLED}
            assert needs != {JobState.SUCCEEDED}
