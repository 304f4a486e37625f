"""A desk on which much was judged already: rows in bulk, counts folded, and what the pages then cost.

python -m tests.benchmarks.bench_desk --judgements 1000000
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.snapshots.freezes import work_off
from annotation_api.db.tables import ApiKey, Person, Role
from annotation_api.db.tallies.fold import fold
from annotation_api.http import auth
from tests.journey.desk import HOST, Desk
from tests.support.scale import bulk

BATCH = 20_000  # tasks written at once
OVERLAP = 3
TIMES = 5  # that each request is timed; the middle counts
GOALS = {"project": 300, "projects": 300, "agreement": 500, "leaderboard": 500}  # milliseconds


def fill(desk: Desk, judgements: int) -> None:
    """So many judgements in the desk's project, by its people, folded; each step with its time."""
    engine = make_engine(desk.postgres.url)
    sessions, tasks = session_factory(engine), judgements // OVERLAP
    with sessions.begin() as session:
        people = [row.id for row in session.query(Person).filter(Person.role == Role.ANNOTATOR)]
        models = _models(session, desk.k)
    began = time.perf_counter()
    for start in range(1, tasks + 1, BATCH):
        with sessions.begin() as session:
            numbers = range(start, min(start + BATCH, tasks + 1))
            project = uuid.UUID(desk.project)
            bulk.judge(session, project, people, numbers, overlap=OVERLAP, judged=OVERLAP, models=models, k=desk.k)
    print(f"{tasks * OVERLAP} judgements of {tasks} tasks written in {time.perf_counter() - began:.0f} s", end="; ")
    began = time.perf_counter()
    folded = 1
    while folded:
        with sessions.begin() as session:
            folded = fold(session, limit=3000)
    print(f"folded in {time.perf_counter() - began:.0f} s")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _models(session: Session, k: int) -> list[uuid.UUID]:
    keys = [uuid.uuid4() for _ in range(k)]
    statement = text("INSERT INTO model_versions (id, name, kind, path) VALUES (:id, :name, 'policy', :name)")
    session.execute(statement, [{"id": key, "name": f"model-{n}"} for n, key in enumerate(keys)])
    return keys


def pages(desk: Desk) -> None:
    """Milliseconds of what an owner asks, beside what they should be."""
    ask = _asker(desk)
    for name, path in {
        "project": f"/v1/projects/{desk.project}",
        "projects": "/v1/projects",
        "agreement": f"/v1/projects/{desk.project}/agreement",
        "leaderboard": "/v1/leaderboard",
    }.items():
        times = sorted(_timed(lambda path=path: ask(path, None)) for _ in range(TIMES))
        print(f"  {name:12} {1000 * times[TIMES // 2]:7.0f} ms   (goal: {GOALS[name]} ms on a quiet machine)")


def freezes(desk: Desk) -> None:
    """The first freeze, in a process as the dispatcher's; the second without a change."""
    ask, body = _asker(desk), {"kind": "rankings", "project": desk.project}
    engine = make_engine(desk.postgres.url)
    asked = _timed(lambda: ask("/v1/snapshots", body))
    first = _timed(lambda: work_off(session_factory(engine)))
    again = _timed(lambda: ask("/v1/snapshots", body))
    engine.dispose()
    print(f"  freeze       asked in {asked:.2f} s, done in {first:.0f} s, without a change {again:.2f} s (goal: 1 s)")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _asker(desk: Desk) -> Callable[[str, object], object]:
    """An engineer's requests."""
    key, prefix = auth.new_api_key()
    engine = make_engine(desk.postgres.url)
    with Session(engine) as session:
        tag = uuid.uuid4().hex[:8]
        fields = {"email": f"{tag}@example.org", "name": tag, "pseudonym": tag, "password_hash": auth.NO_PASSWORD}
        person = Person(role=Role.ENGINEER, **fields)
        session.add(person)
        session.flush()
        session.add(ApiKey(person_id=person.id, name="bench", prefix=prefix, key_hash=auth.hash_token(key)))
        session.commit()
    engine.dispose()

    def ask(path: str, body: object) -> object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{HOST}:{desk.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    return ask
