"""Quick routes keep every door that other routes have."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from alignment.records import Demonstration, Prompt
from annotation_api import auth
from annotation_api.db.tables import ApiKey, AuditRow, DatasetKind, LoginSession, Person, Role
from annotation_api.quick import QuickRoute


def test_the_routes_that_everybody_sends_all_day_are_quick(app: FastAPI) -> None:
    quick = {
        f"{method} {route.path}"
        for router in app.routes
        for route in getattr(getattr(router, "original_router", None), "routes", ())
        if isinstance(route, QuickRoute)
        for method in route.methods
    }
    assert quick == {
        "POST /v1/projects/{project_id}/next",
        "POST /v1/assignments/{assignment_id}:renew",
        "POST /v1/assignments/{assignment_id}:skip",
        "PUT /v1/assignments/{assignment_id}/draft",
        "POST /v1/submissions",
        "POST /v1/jobs",
    }


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
