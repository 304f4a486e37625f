"""Every route has one door: headers, then the body, then the work in one thread and one transaction."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import timedelta
from threading import get_ident

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.annotation.queue import service
from annotation_api.db.tables import ApiKey, AuditRow, DatasetKind, LoginSession, Person, Role
from annotation_api.http import auth, dependencies
from annotation_api.http.dependencies import Db
from annotation_api.http.entry.route import DoorRoute, check_doors


def app_with(*routes: APIRouter) -> FastAPI:
    app = FastAPI()
    for router in routes:
        app.include_router(router)
    return app


def test_a_route_without_a_door_keeps_the_app_from_starting() -> None:
    router = APIRouter()
    router.add_api_route("/bare", lambda: None)
    with pytest.raises(RuntimeError, match=r"/bare has no door: give its router route_class=DoorRoute"):
        check_doors(app_with(router).routes)


def test_a_dependency_that_takes_a_thread_keeps_the_app_from_starting() -> None:
    router = APIRouter(route_class=DoorRoute)
    router.add_api_route("/slow", lambda: None, dependencies=[Depends(lambda: None)])
    with pytest.raises(RuntimeError, match=r"/slow depends on .* which would take another thread: make it async"):
        check_doors(app_with(router).routes)


def test_a_transaction_on_the_event_loop_keeps_the_app_from_starting() -> None:
    async def waits(session: Db) -> None: ...

    router = APIRouter(route_class=DoorRoute)
    router.add_api_route("/waits", waits)
    with pytest.raises(RuntimeError, match=r"/waits is async and would hold a transaction on the event loop"):
        check_doors(app_with(router).routes)


def test_a_dependency_that_waits_is_said_to() -> None:
    async def waits() -> None:
        await asyncio.sleep(0.01)

    router = APIRouter(route_class=DoorRoute)
    router.add_api_route("/waits", lambda: None, dependencies=[Depends(waits)])
    with pytest.raises(RuntimeError, match=r"a dependency waits for the event loop|no running event loop"):
        TestClient(app_with(router)).get("/waits")


def test_a_request_runs_in_one_thread_and_not_on_the_event_loop(as_, make, monkeypatch) -> None:
    """Signing in, the work and the commit."""
    seen = []
    for where, name in ((auth, "lock_caller"), (service, "next_in"), (Session, "commit")):
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, real=real, **k: (seen.append(get_ident()), real(*a, **k))[1])
    monkeypatch.setattr(dependencies, "lock_caller", auth.lock_caller)
    client = as_(Role.ANNOTATOR)
    seen.clear()
    assert client.post(f"/v1/projects/{make.project().id}/next").status_code == 204
    assert len(seen) >= 3
    assert len(set(seen)) == 1
    assert seen[0] != get_ident()


@pytest.mark.parametrize(
    ("path", "most"),
    [("/v1/session", 4), ("/login", 4), ("/v1/submissions", 256), ("/v1/jobs", 256), ("/v1/projects", 4096)],
)
def test_each_route_takes_what_it_needs_and_says_how_much(as_, path: str, most: int) -> None:
    client, headers = as_(Role.ADMIN), {"Content-Type": "application/json"}
    assert client.post(path, content=b" " * (most * 1024), headers=headers).status_code != 413
    answer = client.post(path, content=b" " * (most * 1024 + 1), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:rankloop:too-large")
    assert answer.json()["detail"] == f"The request is larger than this path accepts: {most * 1024} bytes."


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"a": 1,}', "JSON decode error|Illegal|Expecting"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "a number with too many digits"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/submissions", "/v1/projects"])
def test_what_is_no_json_is_said_in_words(as_, path: str, body: bytes, what: str) -> None:
    answer = as_(Role.ADMIN).post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert re.search(f"The body is not JSON: ({what})", answer.json()["errors"][0]["message"])


def test_a_cookie_signs_in_but_not_from_another_site(browser_of, make) -> None:
    project = make.project()
    make.task(make.prompt(project))
    browser, path = browser_of(Role.ANNOTATOR), f"/v1/projects/{project.id}/next"
    assert browser.post(path).status_code == 200
    for site in ("cross-site", "same-site"):
        refused = browser.post(path, headers={"Sec-Fetch-Site": site})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:rankloop:cross-site")


def test_the_role_counts(as_, make) -> None:
    refused = as_(Role.ENGINEER).post(f"/v1/projects/{make.project().id}/next")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:rankloop:forbidden")


@pytest.mark.parametrize("end", ["inactive", "revoked", "expired"])
def test_a_key_that_ended_is_refused_at_once(as_, person, make, session, end: str) -> None:
    someone = person(Role.ANNOTATOR)
    client, path = as_(someone), f"/v1/projects/{make.project().id}/next"
    assert client.post(path).status_code == 204
    past = func.now() - timedelta(seconds=1)
    change = {
        "inactive": update(Person).where(Person.id == someone.id).values(active=False),
        "revoked": update(ApiKey).where(ApiKey.person_id == someone.id).values(revoked_at=past),
        "expired": update(ApiKey).where(ApiKey.person_id == someone.id).values(expires_at=past),
    }
    session.execute(change[end])
    refused = client.post(path)
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:rankloop:bad-api-key")


def test_a_session_that_ended_is_refused_at_once(browser_of, person, make, session) -> None:
    someone = person(Role.ANNOTATOR)
    browser, path = browser_of(someone), f"/v1/projects/{make.project().id}/next"
    headers = {"Accept": "application/json"}
    assert browser.post(path, headers=headers).status_code == 204
    ended = update(LoginSession).where(LoginSession.person_id == someone.id)
    session.execute(ended.values(expires_at=func.now() - timedelta(seconds=1)))
    assert browser.post(path, headers=headers).json()["type"] == "urn:rankloop:not-signed-in"


def test_a_caller_is_alone_until_the_transaction_ends(fresh_engine, factory) -> None:
    """The same person's second request waits for the row; another's does not."""
    with Session(fresh_engine) as session:
        keys = []
        for someone in (factory(session).person(Role.ANNOTATOR) for _ in range(2)):
            key, prefix = auth.new_api_key()
            session.add(ApiKey(person_id=someone.id, name="k", prefix=prefix, key_hash=auth.hash_token(key)))
            keys.append(key)
        session.commit()
    with Session(fresh_engine) as first, Session(fresh_engine) as second:
        caller = auth.lock_caller(first, key=keys[0], token=None)
        assert caller is not None
        assert auth.lock_caller(second, key=keys[1], token=None) is not None
        free = "SELECT id FROM people WHERE id = %(id)s FOR NO KEY UPDATE SKIP LOCKED"
        assert second.connection().exec_driver_sql(free, {"id": caller.id}).all() == []


def test_a_bad_idempotency_key_is_named_as_elsewhere(as_) -> None:
    client, headers = as_(Role.ENGINEER), {"Idempotency-Key": "k" * 256}
    job = {"stage": "sft", "inputs": {}}
    quick, other = client.post("/v1/jobs", json=job, headers=headers), client.post("/v1/projects", headers=headers)
    assert (quick.status_code, other.status_code) == (422, 422)
    assert quick.json()["errors"][0] == other.json()["errors"][0]
    assert "idempotency-key" in quick.json()["errors"][0]["pointer"].lower()


def test_a_new_job_is_in_the_audit_and_a_claim_is_not(as_, person, make, session, tmp_path) -> None:
    engineer, rows = person(Role.ENGINEER), [Demonstration(prompt=Prompt.from_text("Q?"), response="a")]
    data = make.dataset(DatasetKind.DEMONSTRATIONS, rows)
    inputs = {"model": {"model": str(make.model(path=str(tmp_path)).id)}, "demonstrations": {"dataset": str(data.id)}}
    made = as_(engineer).post("/v1/jobs", json={"stage": "sft", "inputs": inputs})
    assert as_(Role.ANNOTATOR).post(f"/v1/projects/{make.project().id}/next").status_code == 204
    found = session.scalars(select(AuditRow)).one()
    assert (found.action, found.person_id) == ("POST /v1/jobs", engineer.id)
    assert found.objects == {"made": made.headers["location"]}


def test_too_large_a_body_is_413(as_) -> None:
    answer = as_(Role.ANNOTATOR).put(
        f"/v1/assignments/{uuid.uuid4()}/draft",
        content=b" " * (5 * 2**20),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:rankloop:too-large")


def test_the_documents_know_their_bodies(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert "requestBody" in paths["/v1/submissions"]["post"]
    assert "requestBody" in paths["/v1/assignments/{assignment_id}/draft"]["put"]
    names = [p["name"] for p in paths["/v1/projects/{project_id}/next"]["post"]["parameters"]]
    assert names == ["project_id", "besides"]
