"""What is asked all day long reads few rows, however many there are: counted by Postgres itself.

The test's transaction sees how many rows its own statements read of each table, by a scan or through an index. A plan
that goes through the judgements of a project, or of a person, reads thousands here and a million there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from annotation_api.annotation.review import queries
from annotation_api.db.tables import GoldItem, QualityRules, Role
from annotation_api.db.tallies.fold import fold
from tests.support.factory import Factory
from tests.support.scale import bulk

READ = """
SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
WHERE relname IN ('submissions', 'assignments', 'tasks', 'task_responses', 'responses', 'prompts', 'snapshot_rows',
    'judged_days', 'task_counts', 'task_deltas', 'pending_judgements')
"""
TASKS, OVERLAP, PEOPLE = 3000, 3, 30
FEW = 700  # rows of a table that a request may read; the project has 9,000 judgements, a person 300


class Desk:
    """A project that was worked at for long, and one person of it."""

    def __init__(self, session: Session) -> None:
        make = Factory(session)
        self.project = make.project(overlap=OVERLAP)
        self.people = [make.person(Role.ANNOTATOR) for _ in range(PEOPLE)]
        done, ahead = range(1, TASKS), range(TASKS, TASKS + 400)
        ids = [one.id for one in self.people]
        bulk.judge(session, self.project.id, ids, done, overlap=OVERLAP, judged=OVERLAP)
        bulk.judge(session, self.project.id, ids[:1], ahead, overlap=OVERLAP, judged=1)  # one is far ahead
        bulk.judge(session, self.project.id, [], range(TASKS + 400, TASKS + 420), overlap=OVERLAP, judged=0)
        while fold(session, limit=3000):
            pass
        session.execute(text("ANALYZE"))
        session.execute(text("SET LOCAL random_page_cost = 1.1"))  # by the index already where a scan is not dear yet


@pytest.fixture(scope="module")
def made(engine: Engine) -> Iterator[tuple[Connection, Desk]]:
    """The desk, once for all tests, in a transaction that their end undoes."""
    with engine.connect() as connection:
        outer = connection.begin()
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))
        with new_session(connection) as session:
            desk = Desk(session)
            session.commit()
        yield connection, desk
        outer.rollback()


def new_session(connection: Connection) -> Session:
    return Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)


@pytest.fixture
def session(made: tuple[Connection, Desk]) -> Iterator[Session]:
    """What a test does is undone, and the desk is as it was."""
    connection, _ = made
    before = connection.begin_nested()
    with new_session(connection) as session:
        yield session
    before.rollback()


@pytest.fixture
def desk(made: tuple[Connection, Desk]) -> Desk:
    return made[1]


def rows_read(session: Session) -> dict[str, int]:
    return {name: int(count) for name, count in session.execute(text(READ))}


@contextmanager
def few(session: Session, what: str, limit: int = FEW) -> Iterator[None]:
    before = rows_read(session)
    yield
    read = {name: count - before[name] for name, count in rows_read(session).items() if count - before[name] > limit}
    assert not read, f"{what} reads {read}"


def test_requests_read_few_rows(session: Session, desk: Desk, as_: Any, browser_of: Any) -> None:
    engineer, admin = as_(Role.ENGINEER), browser_of(Role.ADMIN)
    worker, work = desk.people[3], browser_of(desk.people[3])
    api, project = as_(worker), desk.project.id
    for what, ask in {
        "a project": lambda: engineer.get(f"/v1/projects/{project}"),
        "the projects": lambda: engineer.get("/v1/projects"),
        "agreement": lambda: engineer.get(f"/v1/projects/{project}/agreement"),
        "the leaderboard": lambda: engineer.get("/v1/leaderboard"),
        "forms": lambda: engineer.get(f"/v1/projects/{project}/forms"),
        "tasks": lambda: engineer.get(f"/v1/projects/{project}/tasks", params={"limit": 20}),
        "own judgements": lambda: api.get("/v1/submissions", params={"limit": 20}),
        "the next task": lambda: api.post(f"/v1/projects/{project}/next"),
        "the project's page": lambda: admin.get(f"/projects/{project}"),
        "the agreement page": lambda: admin.get(f"/projects/{project}/agreement"),
        "the home page": lambda: admin.get("/"),
        "the tasks' page": lambda: admin.get(f"/projects/{project}/tasks"),
        "tasks of a state": lambda: admin.get(f"/projects/{project}/tasks", params={"state": "waiting"}),
        "tasks that were taken out": lambda: admin.get(f"/projects/{project}/tasks", params={"state": "removed"}),
        "flagged answers": lambda: admin.get(f"/projects/{project}/review", params={"flag": "pii"}),
        "answers with a note": lambda: admin.get(f"/projects/{project}/review", params={"noted": "true"}),
        "answers": lambda: admin.get(f"/projects/{project}/review"),
        "a person's answers": lambda: admin.get(f"/projects/{project}/review", params={"annotator": worker.pseudonym}),
        "fast answers": lambda: admin.get(f"/projects/{project}/review", params={"faster": "5"}),
        "answers sent back": lambda: admin.get(f"/projects/{project}/review", params={"reviewed": "sent_back"}),
        "everybody": lambda: admin.get("/people"),
        "the task page": lambda: work.get(f"/projects/{project}/annotate"),
        "metrics": lambda: admin.get("/metrics"),
    }.items():
        with few(session, what):
            answer = ask()
            assert answer.status_code == 200, f"{what}: {answer.text}"


def test_a_list_is_read_off_its_index(session: Session, desk: Desk, as_: Any, browser_of: Any) -> None:
    """What is compared is as many tasks as are said; of one's own work, what was done this month."""
    project, own = desk.project.id, OVERLAP * TASKS // PEOPLE
    session.execute(text("SET LOCAL enable_seqscan = off"))  # a few thousand rows are scanned as fast as looked up
    work, reviewer = browser_of(desk.people[3]), as_(Role.ADMIN)
    with few(session, "own work", limit=3 * own + 100):
        assert work.get("/mine").status_code == 200
    with few(session, "disputed tasks", limit=OVERLAP * queries.COMPARED + 100):
        answer = reviewer.get(f"/v1/projects/{project}/disputed").json()
    assert answer["looked_at"] == queries.COMPARED


def test_a_round_of_the_fold_reads_what_it_counts(session: Session, desk: Desk) -> None:
    """However much waits: a list that was empty when Postgres last looked, and that a migration filled."""
    people = [one.id for one in desk.people]
    bulk.judge(session, desk.project.id, people, range(TASKS + 500, TASKS + 1500), overlap=OVERLAP, judged=OVERLAP)
    with few(session, "a round"):
        assert 60 <= fold(session, limit=60) <= 180


def test_who_is_far_ahead_gets_a_task(session: Session, desk: Desk, as_: Any) -> None:
    """The first 400 open tasks are done by that person: each costs one row, not one for everybody who has it."""
    first = as_(desk.people[0])
    with few(session, "a claim", limit=2 * 400 + 200):
        answer = first.post(f"/v1/projects/{desk.project.id}/next")
    assert answer.status_code == 200
    assert uuid.UUID(answer.json()["task"])


def test_a_claim_that_may_bring_a_gold_item_reads_few_rows(session: Session, desk: Desk, make: Any, as_: Any) -> None:
    """Also of somebody who has had each of them."""
    project = desk.project
    for n in range(40):
        task = make.task(make.prompt(project, f"gold {n}?"), overlap=0, gold=True)
        ids = [str(key) for key in make.response_ids(task)]
        item = {"use": "mixed", "expected": {"order": [ids[:1], ids[1:]]}, "why": "x", "overlap": 1}
        session.add(GoldItem(task_id=task.id, project_id=project.id, made_by=project.created_by, **item))
        make.assignment(task, desk.people[5])
    session.add(QualityRules(project_id=project.id, gold_rate=0.5))
    session.flush()
    for who, kind in ((desk.people[4], True), (desk.people[5], False)):
        with few(session, f"a claim of {kind}"):
            answer = as_(who).post(f"/v1/projects/{project.id}/next")
        assert answer.status_code == 200


def test_counts_are_what_counting_gives(session: Session, desk: Desk, as_: Any) -> None:
    shown = as_(Role.ADMIN).get(f"/v1/projects/{desk.project.id}").json()
    counted = session.execute(
        text(
            "SELECT count(*), sum(overlap), sum(judged), sum(greatest(overlap - judged, 0)) FROM tasks "
            "WHERE project_id = :project"
        ),
        {"project": desk.project.id},
    ).one()
    assert tuple(shown["progress"][name] for name in ("tasks", "wanted", "judged", "left")) == tuple(counted)
    judged = session.execute(
        text("SELECT count(*) FROM submissions WHERE project_id = :project AND supersedes IS NULL"),
        {"project": desk.project.id},
    ).scalar_one()
    assert sum(row["judged"] for row in shown["people"]) == judged
