"""Coming in: the first admin, invitations, sign-in, roles, keys."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api.db.tables import (
    ApiKey,
    Assignment,
    IdempotencyKey,
    Invitation,
    LoginSession,
    Person,
    Role,
    Submission,
    Task,
)
from annotation_api.http import auth
from annotation_api.people import service

PASSWORD = "three plain words"
ADA = {"email": "Ada@Example.org", "name": "Ada", "password": PASSWORD}


def test_the_setup_link_makes_the_first_admin_once(session: Session, client) -> None:
    token = service.ensure_setup_link(session)
    answer = client.post(f"/v1/invitations/{token}:accept", json=ADA)
    assert answer.status_code == 201
    assert answer.json()["role"] == "admin"
    assert answer.json()["email"] == "ada@example.org"
    assert client.get("/v1/me").json()["name"] == "Ada"  # signed in by the same answer
    again = client.post(f"/v1/invitations/{token}:accept", json={**ADA, "email": "eve@example.org"})
    assert again.status_code == 404
    assert again.json()["type"] == "urn:rankloop:bad-link"
    assert service.ensure_setup_link(session) is None


def test_a_new_setup_link_ends_the_older_one(session: Session, client) -> None:
    old, new = service.ensure_setup_link(session), service.ensure_setup_link(session)
    assert client.post(f"/v1/invitations/{old}:accept", json=ADA).status_code == 404
    assert client.post(f"/v1/invitations/{new}:accept", json=ADA).status_code == 201


def test_an_expired_link_is_refused(session: Session, client) -> None:
    token = service.ensure_setup_link(session)
    session.execute(update(Invitation).values(expires_at=func.now() - timedelta(seconds=1)))
    assert client.post(f"/v1/invitations/{token}:accept", json=ADA).status_code == 404


def test_tokens_and_passwords_are_not_stored(session: Session, as_, client) -> None:
    token = as_(Role.ADMIN).post("/v1/invitations", json={"role": "engineer"}).json()["token"]
    client.post(f"/v1/invitations/{token}:accept", json=ADA)
    key = client.post("/v1/api-keys", json={"name": "laptop"}).json()["key"]
    cookie = client.cookies["rankloop"]
    stored = [
        str(value)
        for table in (Invitation, ApiKey, LoginSession, Person)
        for row in session.execute(select(*table.__table__.columns))
        for value in row
    ]
    for secret in (token, key, cookie, PASSWORD):
        assert not any(secret in value for value in stored)
    assert any(value.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for value in stored)


def test_the_key_works_until_it_is_revoked(client, as_, person) -> None:
    engineer = person(Role.ENGINEER)
    made = as_(engineer).post("/v1/api-keys", json={"name": "laptop"})
    assert re.fullmatch(r"rl_[0-9a-f]{8}_.{43}", made.json()["key"])
    assert made.headers["location"] == f"/v1/api-keys/{made.json()['id']}"
    header = {"Authorization": f"Bearer {made.json()['key']}"}
    assert client.get("/v1/me", headers=header).json()["id"] == str(engineer.id)
    assert client.delete(made.headers["location"], headers=header).status_code == 204
    refused = client.get("/v1/me", headers=header)
    assert refused.status_code == 401
    assert refused.json()["type"] == "urn:rankloop:bad-api-key"


def test_an_expired_key_is_refused(session: Session, as_) -> None:
    caller = as_(Role.ENGINEER)
    session.execute(update(ApiKey).values(expires_at=func.now()))
    assert caller.get("/v1/me").status_code == 401


def test_anothers_key_does_not_exist(as_, person) -> None:
    made = as_(Role.ENGINEER).post("/v1/api-keys", json={"name": "mine"}).headers["location"]
    assert as_(Role.ENGINEER).get(made).status_code == 404
    assert as_(Role.ENGINEER).delete(made).status_code == 404
    assert as_(Role.ADMIN).delete(made).status_code == 204


def test_signing_in_and_out(client, person) -> None:
    someone = person(Role.ANNOTATOR)
    answer = client.post("/v1/session", json={"email": someone.email.upper(), "password": PASSWORD})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/v1/me").json()["email"] == someone.email
    kept = client.cookies["rankloop"]
    assert client.delete("/v1/session").status_code == 204
    client.cookies.set("rankloop", kept)
    assert client.get("/v1/me").status_code == 401  # the row is gone, not only the cookie


def test_a_wrong_password_and_an_unknown_person_look_the_same(client, person) -> None:
    known = client.post("/v1/session", json={"email": person().email, "password": "wrong"})
    unknown = client.post("/v1/session", json={"email": "nobody@example.org", "password": "wrong"})
    assert known.status_code == unknown.status_code == 401
    assert known.json() == unknown.json()


def test_a_local_account_without_password_cannot_sign_in(session: Session, client) -> None:
    service.ensure_local_engineer_key(session)
    body = {"email": service.LOCAL_ENGINEER, "password": auth.NO_PASSWORD}
    assert client.post("/v1/session", json=body).status_code == 401


def test_guessing_is_slowed_down(client, person) -> None:
    someone = person()
    wrong = {"email": someone.email, "password": "wrong"}
    codes = [client.post("/v1/session", json=wrong).status_code for _ in range(6)]
    assert codes == [401] * 5 + [429]
    right = client.post("/v1/session", json={**wrong, "password": PASSWORD})
    assert right.status_code == 429
    assert 0 < int(right.headers["retry-after"]) <= 10
    assert client.post("/v1/session", json={"email": person().email, "password": PASSWORD}).status_code == 204


def test_a_retired_person_is_out_at_once(client, as_, person) -> None:
    someone = person()
    client.post("/v1/session", json={"email": someone.email, "password": PASSWORD})
    key = as_(someone)
    assert as_(Role.ADMIN).patch(f"/v1/people/{someone.id}", json={"active": False}).json()["active"] is False
    assert client.get("/v1/me").status_code == 401
    assert key.get("/v1/me").status_code == 401
    body = {"email": someone.email, "password": PASSWORD}
    assert client.post("/v1/session", json=body).status_code == 401


@pytest.mark.parametrize("change", [{"active": False}, {"role": "engineer"}])
def test_the_last_admin_stays(as_, person, change: dict[str, object]) -> None:
    first = person(Role.ADMIN)
    caller = as_(first)
    refused = caller.patch(f"/v1/people/{first.id}", json=change)
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:rankloop:last-admin"
    person(Role.ADMIN)
    assert caller.patch(f"/v1/people/{first.id}", json=change).status_code == 200


def test_a_taken_address_is_refused_and_the_link_still_works(as_, client, person) -> None:
    token = as_(Role.ADMIN).post("/v1/invitations", json={"role": "annotator"}).json()["token"]
    taken = client.post(f"/v1/invitations/{token}:accept", json={**ADA, "email": person().email})
    assert taken.status_code == 409
    assert client.post(f"/v1/invitations/{token}:accept", json=ADA).status_code == 201


def test_a_bad_person_is_explained(as_, client) -> None:
    token = as_(Role.ADMIN).post("/v1/invitations", json={"role": "annotator"}).json()["token"]
    body = {"email": "ada", "name": "Ada", "password": "short", "pasword": "x"}
    errors = client.post(f"/v1/invitations/{token}:accept", json=body).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/email", "/password", "/pasword"}
    assert "Did you mean 'password'?" in next(e["message"] for e in errors if e["pointer"] == "/pasword")


def test_people_are_paged(as_, person) -> None:
    caller = as_(Role.ADMIN)
    wanted = {str(person().id) for _ in range(5)}
    seen: list[str] = []
    cursor = None
    while True:
        page = caller.get("/v1/people", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert len(seen) == len(set(seen))
    assert wanted <= set(seen)
    bad = caller.get("/v1/people", params={"cursor": "rubbish"})
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["pointer"] == "query:cursor"


def test_the_local_key_is_kept_while_it_is_good(session: Session, client) -> None:
    key = service.ensure_local_engineer_key(session)
    assert client.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).json()["role"] == "engineer"
    assert service.ensure_local_engineer_key(session, key) == key
    session.execute(update(ApiKey).values(revoked_at=func.now()))
    assert service.ensure_local_engineer_key(session, key) != key


# ---------------------------------------------------------------- going, and taking the name along


def test_an_erased_person_leaves_the_work_and_nothing_else(session: Session, client, as_, person, make) -> None:
    someone = person(Role.ANNOTATOR)
    key, admin = as_(someone), as_(Role.ADMIN)
    key.post("/v1/api-keys", json={"name": f"key of {someone.name}"}, headers={"Idempotency-Key": "one"})
    client.post("/v1/session", json={"email": someone.email, "password": PASSWORD})
    judged = make.submission(make.task(make.prompt(make.project())), [[0], [1]], someone)
    gone = (someone.name, someone.email)

    answer = admin.post(f"/v1/people/{someone.id}:erase")
    assert answer.status_code == 200
    assert answer.json()["active"] is False
    assert answer.json()["erased_at"]
    assert answer.json()["pseudonym"] == someone.pseudonym
    stored = "".join(
        str(value)
        for table in (Person, ApiKey, LoginSession, IdempotencyKey)
        for row in session.execute(select(*table.__table__.columns))
        for value in row
    )
    assert not any(secret in stored for secret in gone)
    session.refresh(someone)
    assert someone.password_hash == auth.NO_PASSWORD
    assert key.get("/v1/me").status_code == client.get("/v1/me").status_code == 401
    work = admin.get("/v1/submissions", params={"project": str(project_of(session, judged))}).json()["items"]
    assert [(row["id"], row["annotator"]) for row in work] == [(str(judged.id), someone.pseudonym)]


def project_of(session: Session, row: Submission) -> object:
    task = session.get_one(Assignment, row.assignment_id).task_id
    return session.get_one(Task, task).project_id


def test_erasing_twice_is_the_same_and_there_is_no_way_back(as_, person) -> None:
    someone, admin = person(), as_(Role.ADMIN)
    first = admin.post(f"/v1/people/{someone.id}:erase").json()
    assert admin.post(f"/v1/people/{someone.id}:erase").json() == first
    back = admin.patch(f"/v1/people/{someone.id}", json={"active": True})
    assert back.status_code == 409
    assert back.json()["type"] == "urn:rankloop:erased"


def test_the_last_admin_is_not_erased(as_, person) -> None:
    first = person(Role.ADMIN)
    caller = as_(first)
    refused = caller.post(f"/v1/people/{first.id}:erase")
    assert refused.json()["type"] == "urn:rankloop:last-admin"
    assert caller.get("/v1/me").json()["name"] == first.name
    person(Role.ADMIN)
    assert caller.post(f"/v1/people/{first.id}:erase").status_code == 200
    assert caller.get("/v1/me").status_code == 401


# ---------------------------------------------------------------- invitations and passwords


def test_open_invitations_are_listed_without_their_links_and_withdrawn(as_, client) -> None:
    admin = as_(Role.ADMIN)
    tokens = [admin.post("/v1/invitations", json={"role": role}).json()["token"] for role in ("annotator", "reviewer")]
    client.post(f"/v1/invitations/{tokens[0]}:accept", json=ADA)
    listed = admin.get("/v1/invitations")
    assert [row["role"] for row in listed.json()["items"]] == ["reviewer"]
    assert tokens[1] not in listed.text
    path = f"/v1/invitations/{listed.json()['items'][0]['id']}"
    assert admin.delete(path).status_code == 204
    assert admin.delete(path).status_code == 404
    late = client.post(f"/v1/invitations/{tokens[1]}:accept", json={**ADA, "email": "eve@example.org"})
    assert late.status_code == 404


def test_a_new_password_ends_every_other_session(client, person) -> None:
    someone = person()
    body = {"email": someone.email, "password": PASSWORD}
    client.post("/v1/session", json=body)
    other = client.cookies["rankloop"]
    client.cookies.clear()
    client.post("/v1/session", json=body)

    wrong = client.post("/v1/me:password", json={"current": "not this one", "new": "four other plain words"})
    assert wrong.status_code == 422
    assert wrong.json()["type"] == "urn:rankloop:wrong-password"
    short = client.post("/v1/me:password", json={"current": PASSWORD, "new": "short"})
    assert short.status_code == 422
    assert (
        client.post("/v1/me:password", json={"current": PASSWORD, "new": "four other plain words"}).status_code == 204
    )
    assert client.get("/v1/me").status_code == 200  # the answer brought a fresh session
    client.cookies.clear()
    client.cookies.set("rankloop", other)
    assert client.get("/v1/me").status_code == 401
    client.cookies.clear()
    assert client.post("/v1/session", json=body).status_code == 401
    assert client.post("/v1/session", json={**body, "password": "four other plain words"}).status_code == 204


def test_a_stolen_session_cannot_guess_the_password(client, person) -> None:
    client.post("/v1/session", json={"email": person().email, "password": PASSWORD})
    body = {"current": "a guess", "new": "four other plain words"}
    assert [client.post("/v1/me:password", json=body).status_code for _ in range(6)] == [422] * 5 + [429]
