"""Idempotency-Key on a creating POST: one effect, one answer."""

from __future__ import annotations

import threading
import uuid

from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import ApiKey, Project, Role
from annotation_api.http.auth import hash_token, new_api_key
from annotation_api.settings import Settings
from tests.support.live import app_of


def test_a_repeat_gets_the_same_answer_and_makes_nothing(as_, session: Session) -> None:
    caller, key = as_(Role.ENGINEER), {"Idempotency-Key": "one"}
    first = caller.post("/v1/projects", json={"name": "p"}, headers=key)
    again = caller.post("/v1/projects", json={"name": "p"}, headers=key)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == f"/v1/projects/{first.json()['id']}"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert session.scalar(select(func.count()).select_from(Project)) == 1


def test_another_body_or_path_under_the_same_key_is_422(as_) -> None:
    caller, key = as_(Role.ENGINEER), {"Idempotency-Key": "one"}
    made = caller.post("/v1/projects", json={"name": "p"}, headers=key)
    other = caller.post("/v1/projects", json={"name": "q"}, headers=key)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:rankloop:idempotency-key-reused"
    task = {"prompt": {"messages": [{"role": "user", "content": "?"}]}, "responses": [{"text": "a"}, {"text": "b"}]}
    path = f"/v1/projects/{made.json()['id']}/tasks"
    assert caller.post(path, json=task, headers=key).status_code == 422


def test_keys_of_two_people_do_not_meet(as_) -> None:
    key = {"Idempotency-Key": "one"}
    assert as_(Role.ENGINEER).post("/v1/projects", json={"name": "p"}, headers=key).status_code == 201
    assert as_(Role.ENGINEER).post("/v1/projects", json={"name": "q"}, headers=key).status_code == 201


def test_a_refused_request_leaves_its_key_unused(as_) -> None:
    caller, key = as_(Role.ENGINEER), {"Idempotency-Key": "one"}
    caller.post("/v1/projects", json={"name": "p"})
    assert caller.post("/v1/projects", json={"name": "p"}, headers=key).status_code == 409
    assert caller.post("/v1/projects", json={"name": "q"}, headers=key).status_code == 201


def test_a_secret_is_not_kept_for_a_repeat(as_) -> None:
    caller, key = as_(Role.ENGINEER), {"Idempotency-Key": "one"}
    first = caller.post("/v1/api-keys", json={"name": "k"}, headers=key).json()
    again = caller.post("/v1/api-keys", json={"name": "k"}, headers=key).json()
    assert first["key"].startswith("rl_")
    assert again == {**first, "key": None}


def test_two_at_once_make_one(fresh_engine, factory) -> None:
    """The second arrives while the first is uncommitted: 409 with a time to retry, or the stored answer."""
    with Session(fresh_engine) as session:
        engineer = factory(session).person(Role.ENGINEER)
        secret, prefix = new_api_key()
        session.add(ApiKey(person_id=engineer.id, name="t", prefix=prefix, key_hash=hash_token(secret)))
        session.commit()
    app = app_of(Settings(database_url="postgresql://given-by-the-engine"), fresh_engine)
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": str(uuid.uuid4())}
    answers: list[tuple[int, str]] = []
    gate = threading.Barrier(8)

    def post() -> None:
        with TestClient(app, base_url="http://localhost", headers=headers) as client:
            gate.wait()
            answer = client.post("/v1/projects", json={"name": "p"})
            answers.append((answer.status_code, answer.json().get("id", "")))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} <= {201, 409}
    assert len({key for status, key in answers if status == 201}) == 1
    with Session(fresh_engine) as session:
        assert session.scalar(select(func.count()).select_from(Project)) == 1
