"""When all slots are taken, who comes is told within a second, and so is who asks whether the service is well."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from annotation_api.app import CLAIM_SLOTS
from annotation_api.db.engine import make_engine
from annotation_api.db.tables import Role
from tests.hostile.server import Server, Visitor

NEXT = f"/v1/projects/{uuid.UUID(int=1)}/next"


def test_without_slots_it_says_so_within_a_second_and_counts_it(
    server: Server, visitor: Callable[[Role], Visitor]
) -> None:
    """One person's requests wait for a lock in the database, in all the slots that there are for claims."""
    slow, someone, scraper = visitor(Role.ANNOTATOR), visitor(Role.ANNOTATOR), visitor(Role.ENGINEER)
    name = 'rankloop_shed_total{what="claim-slots"}'
    before = server.metric(name, scraper.key)
    engine = make_engine(server.database_url)
    with ThreadPoolExecutor(CLAIM_SLOTS) as pool, slow.client(timeout=60) as many, someone.client() as client:
        with Session(engine) as holder:
            holder.execute(text("SELECT 1 FROM people WHERE id = :id FOR UPDATE"), {"id": slow.person})
            waiting = [pool.submit(many.post, NEXT) for _ in range(CLAIM_SLOTS)]
            _until_waiting(engine, CLAIM_SLOTS)
            for call in (lambda: client.post(NEXT), lambda: client.get("/readyz")):
                began = time.monotonic()
                answer: httpx.Response = call()
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
                assert answer.json()["type"] == "urn:rankloop:busy"
                assert time.monotonic() - began < 10  # 0.8 s on a quiet machine; a claim waits for ever
            assert client.get("/v1/me").status_code == 200  # other work has slots of its own
        assert {call.result().status_code for call in waiting} == {404}
        assert client.get("/readyz").status_code == 200
    assert server.metric(name, scraper.key) == before + 2
    engine.dispose()


def _until_waiting(engine: Engine, number: int) -> None:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:  # sees others' news
        while watcher.scalar(text(asked)) < number:
            time.sleep(0.02)
