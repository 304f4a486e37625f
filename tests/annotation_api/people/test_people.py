"""Coming in: the first admin, invitations, sign-in, roles, keys."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_api import auth
from annotation_api.db.tables import ApiKey, Invitation, LoginSession, Person, Role
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
    assert 0 < int(right.headers["retry-after"]) <= 900
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
