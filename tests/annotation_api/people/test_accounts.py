"""Second factor, resets, keys with scopes and parents, idle sign-out: what a stolen or forgotten secret still opens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from annotation_api.db.tables import ApiKey, LoginSession, MadeFrom, Person, RecoveryCode, Role
from annotation_api.http import auth, key_scopes
from annotation_api.http.key_scopes import Scope
from annotation_api.people import passwords, second_factor, service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.live import app_of

PASSWORD, NEW = "three plain words", "four plain words here"
As = Callable[..., TestClient]


def sign_in(client: TestClient, person: Person, password: str = PASSWORD, **more: str) -> Any:
    client.cookies.clear()
    return client.post("/v1/session", json={"email": person.email, "password": password, **more})


def with_key(client: TestClient, key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# ---------------------------------------------------------------- passwords


@pytest.mark.parametrize(
    "password", ["password123", "Password123!", "1q2w3e4r5t", "internationalization", "rankloop2026", "abababababab"]
)
def test_a_password_that_others_try_first_is_refused(client: TestClient, session: Session, password: str) -> None:
    token, _ = service.invite(session, Role.ANNOTATOR)
    answer = client.post(
        f"/v1/invitations/{token}:accept", json={"email": "a@example.org", "name": "A", "password": password}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:rankloop:common-password")
    assert answer.json()["errors"][0]["pointer"] == "/password"
    assert password not in answer.text


@pytest.mark.parametrize("password", ["ada lovelace", "ada.lovelace", "Ada Lovelace1!"])
def test_the_own_name_and_address_are_no_password(password: str) -> None:
    assert passwords.fault_of(password, "ada.lovelace@example.org", "Ada Lovelace")


@pytest.mark.parametrize(
    "password", [PASSWORD, "a" * 9 + "bc", "天地玄黄宇宙洪荒日月盈昃", "zq 7 zq 8 zq", "x" * 100 + "yz"]
)
def test_length_is_the_only_rule_beside_the_list(client: TestClient, session: Session, password: str) -> None:
    """Nothing is cut off: one letter less at the end is another password."""
    token, _ = service.invite(session, Role.ANNOTATOR)
    body = {"email": "a@example.org", "name": "A", "password": password}
    assert client.post(f"/v1/invitations/{token}:accept", json=body).status_code == 201
    person = session.scalars(select(Person).where(Person.email == "a@example.org")).one()
    assert sign_in(client, person, password[:-1]).status_code == 401
    assert sign_in(client, person, password).status_code == 204


def test_the_list_holds_more_than_three_thousand_that_are_long_enough() -> None:
    assert sum(len(word) >= passwords.MIN for word in passwords.common()) > 3000


def test_a_new_password_of_ones_own_is_held_against_the_list(browser_of: As, person: Callable[..., Person]) -> None:
    browser = browser_of(person())
    answer = browser.post("/v1/me:password", json={"current": PASSWORD, "new": "password123"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/new")
    page = browser.post("/account/password", data={"current": PASSWORD, "new": "password123"})
    assert page.status_code == 422
    assert "others try first" in page.text


def test_a_key_only_account_is_not_told_apart_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is stored, one hash is computed."""
    seen = []
    verify = type(auth._hasher).verify
    monkeypatch.setattr(type(auth._hasher), "verify", lambda *given: seen.append(given[1]) or verify(*given))
    for stored in (None, auth.NO_PASSWORD, auth.hash_password(PASSWORD)):
        assert not auth.verify_password(stored, "wrong")
    assert not auth.verify_password(auth.NO_PASSWORD, auth.NO_PASSWORD)
    assert [hashed.startswith("$argon2id$") for hashed in seen] == [True] * 4


# ---------------------------------------------------------------- second factor


@pytest.fixture
def armed(session: Session, person: Callable[..., Person]) -> Person:
    someone = person(Role.ADMIN)
    second_factor.begin(session, someone)
    someone.second_factor_at = func.now()
    session.flush()
    return someone


def code_of(person: Person, steps: int = 0) -> str:
    assert person.totp_secret
    return pyotp.TOTP(person.totp_secret).at(time.time() + steps * 30)


def test_a_factor_is_set_up_by_a_code_of_it(browser_of: As, person: Callable[..., Person], session: Session) -> None:
    someone = person()
    browser = browser_of(someone)
    assert browser.post("/v1/me/second-factor:confirm", json={"code": "000000"}).status_code == 409
    assert browser.post("/v1/me/second-factor", json={"password": "wrong"}).status_code == 422
    uri = browser.post("/v1/me/second-factor", json={"password": PASSWORD}).json()["uri"]
    assert uri.startswith("otpauth://totp/Rankloop:")
    assert sign_in(browser, someone).status_code == 204  # not asked for before it is confirmed
    totp = pyotp.parse_uri(uri)
    assert isinstance(totp, pyotp.TOTP)
    wrong = browser.post("/v1/me/second-factor:confirm", json={"code": "12345x"})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:rankloop:wrong-code")
    codes = browser.post("/v1/me/second-factor:confirm", json={"code": totp.now()}).json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[0-9a-f]{7}(-[0-9a-f]{7}){3}", code) for code in codes)  # 112 bits
    assert browser.get("/v1/me").json()["second_factor_at"]
    assert browser.post("/v1/me/second-factor", json={"password": PASSWORD}).status_code == 409
    stored = session.scalars(select(RecoveryCode.code_hash)).all()
    assert not any(code in stored for code in codes)

    needed = sign_in(browser, someone)
    assert (needed.status_code, needed.json()["type"]) == (401, "urn:rankloop:second-factor-needed")
    assert sign_in(browser, someone, code=codes[0].upper()).status_code == 204
    assert sign_in(browser, someone, code=codes[0]).status_code == 401  # it worked once
    assert sign_in(browser, someone, code=codes[1]).status_code == 204
    assert browser.post("/v1/me/second-factor:remove", json={"password": "wrong"}).status_code == 422
    assert browser.post("/v1/me/second-factor:remove", json={"password": PASSWORD}).status_code == 204
    assert sign_in(browser, someone).status_code == 204
    assert session.scalars(select(RecoveryCode.code_hash)).all() == []


def test_a_code_works_once_and_for_a_moment(client: TestClient, armed: Person) -> None:
    assert sign_in(client, armed, code=code_of(armed, -3)).status_code == 401
    assert sign_in(client, armed, "wrong", code=code_of(armed)).status_code == 401
    code = code_of(armed)
    assert sign_in(client, armed, code=code).status_code == 204
    assert sign_in(client, armed, code=code).status_code == 401
    assert sign_in(client, armed, code=code_of(armed, -1)).status_code == 401  # older than one that was used


def test_codes_are_not_guessed_from_many_addresses(app: FastAPI, armed: Person) -> None:
    codes = []
    for number in range(7):
        client = TestClient(app, base_url="http://localhost", client=(f"10.0.0.{number}", 1))
        codes.append(sign_in(client, armed, code="12345x").status_code)
    assert codes == [401] * 5 + [429] * 2


def test_guessing_codes_does_not_keep_a_known_device_out(app: FastAPI, client: TestClient, armed: Person) -> None:
    assert sign_in(client, armed, code=code_of(armed)).status_code == 204
    mark = {name: value for name, value in client.cookies.items() if name.endswith("-device")}
    assert mark
    stranger = TestClient(app, base_url="http://localhost", client=("10.0.0.1", 1))
    for _ in range(6):
        sign_in(stranger, armed, code="12345x")
    assert sign_in(stranger, armed, code=code_of(armed, 1)).status_code == 429
    body = {"email": armed.email, "password": PASSWORD, "code": code_of(armed, 1)}
    client.cookies.clear()
    assert client.post("/v1/session", json=body, cookies=mark).status_code == 204


def test_the_page_asks_for_the_code_in_a_second_step(client: TestClient, armed: Person) -> None:
    client.follow_redirects = False
    page = client.post("/login", data={"email": armed.email, "password": PASSWORD, "next": "/people"})
    assert page.status_code == 200
    assert "rankloop" not in client.cookies
    passed = re.search(r'name="passed" value="([^"]+)"', page.text)
    assert passed
    form = {"passed": passed[1], "next": "/people"}
    assert client.post("/login/code", data={**form, "code": "12345x"}).status_code == 401
    forged = client.post("/login/code", data={**form, "passed": str(armed.id) + ".x.y", "code": code_of(armed)})
    assert forged.headers["location"] == "/login"
    assert "rankloop" not in client.cookies
    done = client.post("/login/code", data={**form, "code": code_of(armed)})
    assert done.headers["location"] == "/people"
    assert client.get("/people").status_code == 200


def test_the_account_page_sets_a_factor_up(browser_of: As, person: Callable[..., Person], session: Session) -> None:
    someone = person()
    browser = browser_of(someone)
    assert browser.post("/account/second-factor", data={"password": "wrong"}).status_code == 422
    page = browser.post("/account/second-factor", data={"password": PASSWORD})
    assert "data:image/svg+xml" in page.text
    session.refresh(someone)
    assert someone.totp_secret
    assert someone.totp_secret in page.text
    wrong = browser.post("/account/second-factor/confirm", data={"code": "000"})
    assert (wrong.status_code, someone.totp_secret in wrong.text) == (422, True)
    done = browser.post("/account/second-factor/confirm", data={"code": code_of(someone)})
    assert len(re.findall(r"[0-9a-f]{7}(?:-[0-9a-f]{7}){3}", done.text)) == 10
    assert someone.totp_secret not in browser.get("/account/second-factor").text
    browser.post("/account/second-factor/remove", data={"password": PASSWORD})
    session.refresh(someone)
    assert (someone.totp_secret, someone.second_factor_at) == (None, None)


@pytest.fixture
def strict(app: FastAPI) -> None:
    app.state.settings = app.state.settings.model_copy(update={"admin_second_factor": True})


@pytest.mark.usefixtures("strict")
def test_an_admin_without_the_factor_that_is_required_does_no_admins_work(
    as_: As, browser_of: As, armed: Person, person: Callable[..., Person]
) -> None:
    bare = person(Role.ADMIN)
    for client in (as_(bare), browser_of(bare)):
        refused = client.get("/v1/people")
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:rankloop:second-factor-required")
        assert client.post("/v1/projects", json={"name": "x"}).status_code == 403
        assert client.get("/v1/submissions").status_code == 200  # what everybody may do
    browser = browser_of(bare)
    assert browser.post("/v1/me/second-factor", json={"password": PASSWORD}).status_code == 200
    assert as_(armed).get("/v1/people").status_code == 200
    assert as_(Role.ENGINEER).get("/v1/jobs").status_code == 200


@pytest.mark.usefixtures("strict")
def test_it_is_required_where_somebody_claims_and_judges_too(as_: As, armed: Person, make: Any) -> None:
    project = make.project()
    assert as_(Role.ADMIN).post(f"/v1/projects/{project.id}/next").status_code == 403
    assert as_(armed).post(f"/v1/projects/{project.id}/next").status_code == 204


# ---------------------------------------------------------------- links for a new password


def test_a_reset_link_sets_a_password_once(as_: As, client: TestClient, armed: Person, session: Session) -> None:
    sign_in(client, armed, code=code_of(armed))
    old = dict(client.cookies)
    made = as_(Role.ADMIN).post(f"/v1/people/{armed.id}:reset-password").json()
    assert made["url"].endswith(f"/reset/{made['token']}")
    place = f"/v1/resets/{made['token']}:accept"
    assert client.post(place, json={"password": "password123"}).status_code == 422
    assert client.post(place, json={"password": NEW}).status_code == 204
    assert client.post(place, json={"password": "five plain words are here"}).status_code == 404
    client.cookies.clear()
    assert client.get("/v1/me", cookies=old).status_code == 401
    assert sign_in(client, armed).status_code == 401
    needed = sign_in(client, armed, NEW)
    assert needed.json()["type"] == "urn:rankloop:second-factor-needed"  # the link opens no second lock


def test_a_reset_link_ends(as_: As, client: TestClient, person: Callable[..., Person], session: Session) -> None:
    someone = person()
    admin = as_(Role.ADMIN)
    first, second = (admin.post(f"/v1/people/{someone.id}:reset-password").json()["token"] for _ in range(2))
    assert client.get(f"/reset/{first}").status_code == 404
    assert client.get(f"/reset/{second}").status_code == 200
    from annotation_api.db.tables import PasswordReset

    session.execute(update(PasswordReset).values(expires_at=func.now() - timedelta(seconds=1)))
    assert client.post(f"/reset/{second}", data={"password": NEW}).status_code == 404
    admin.patch(f"/v1/people/{someone.id}", json={"active": False})
    assert admin.post(f"/v1/people/{someone.id}:reset-password").status_code == 409


def test_an_admins_page_resets_unlocks_and_takes_the_factor_away(
    browser_of: As, client: TestClient, armed: Person, session: Session
) -> None:
    browser, place = browser_of(Role.ADMIN), f"/people/{armed.id}"
    for _ in range(6):
        sign_in(client, armed, "wrong")
    page = browser.get(place).text
    assert "Wrong tries that are remembered: 5." in page
    assert sign_in(client, armed, code=code_of(armed)).status_code == 429
    assert browser.post(f"{place}/unlock").status_code == 303
    assert sign_in(client, armed, code=code_of(armed)).status_code == 204
    assert browser.post(f"{place}/second-factor/remove").status_code == 303
    assert sign_in(client, armed).status_code == 204
    link = re.search(r'value="[^"]+(/reset/[^"]+)"', browser.post(f"{place}/reset").text)
    assert link
    client.follow_redirects = False
    assert client.post(link[1], data={"password": "short"}).status_code == 422
    assert client.post(link[1], data={"password": NEW}).headers["location"] == "/login"
    assert sign_in(client, armed, NEW).status_code == 204


# ---------------------------------------------------------------- keys


def new_key(client: TestClient, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/api-keys", json={"name": "k", **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_key_with_scopes_does_no_more_than_they_say(as_: As, browser_of: As, client: TestClient) -> None:
    browser = browser_of(Role.ADMIN)
    reader, data = (with_key(client, new_key(browser, scopes=[scope])["key"]) for scope in ("read", "data"))
    got = {
        (name, method, path): client.request(method, path, headers=headers, json={"name": name}).status_code
        for name, headers in (("reader", reader), ("data", data))
        for method, path in (
            ("GET", "/v1/me"), ("GET", "/v1/projects"), ("POST", "/v1/projects"), ("GET", "/v1/jobs"),
            ("GET", "/v1/people"), ("POST", "/v1/api-keys"), ("GET", "/"), ("GET", "/metrics"),
        )
    }  # fmt: skip
    assert [code for key, code in got.items() if key[0] == "reader"] == [200, 200, 403, 200, 200, 403, 403, 200]
    assert [code for key, code in got.items() if key[0] == "data"] == [200, 200, 201, 403, 403, 403, 403, 200]
    refused = client.post("/v1/projects", headers=reader, json={"name": "x"})
    assert refused.json()["detail"] == "This needs the scope data; the key has read."
    assert refused.json()["type"] == "urn:rankloop:out-of-scope"


def test_scopes_count_where_somebody_claims(browser_of: As, client: TestClient, make: Any) -> None:
    project, browser = make.project(), browser_of(Role.ANNOTATOR)
    codes = {
        scope: client.post(
            f"/v1/projects/{project.id}/next", headers=with_key(client, new_key(browser, scopes=[scope])["key"])
        ).status_code
        for scope in Scope
    }
    assert codes == {Scope.ANNOTATE: 204} | {scope: 403 for scope in Scope if scope is not Scope.ANNOTATE}


def test_every_route_of_the_api_has_an_area(app: FastAPI) -> None:
    paths = {
        str(context.path) for context in iter_route_contexts(app.routes) if isinstance(context.original_route, APIRoute)
    }
    assert {path for path in paths if path.startswith("/v1/") and key_scopes.area_of(path) is None} == set()
    assert {path for path in paths if not path.startswith("/v1/") and key_scopes.area_of(path)} == set()


def test_an_unknown_scope_is_named(browser_of: As) -> None:
    answer = browser_of(Role.ENGINEER).post("/v1/api-keys", json={"name": "k", "scopes": ["jbos"]})
    assert answer.status_code == 422
    assert "/scopes/0" in answer.text


def test_a_key_made_by_a_key_can_do_no_more_and_lives_no_longer(browser_of: As, client: TestClient) -> None:
    parent = new_key(browser_of(Role.ADMIN), scopes=["people", "read"], expires_in_days=10)
    assert (parent["made_from"], parent["parent_id"]) == ("session", None)
    headers = with_key(client, parent["key"])
    child = new_key(client, headers, expires_in_days=300)
    assert (child["scopes"], child["expires_at"]) == (parent["scopes"], parent["expires_at"])
    assert (child["made_from"], child["parent_id"]) == ("key", parent["id"])
    assert new_key(client, headers, scopes=["read"], expires_in_days=1)["expires_at"] < parent["expires_at"]
    beyond = client.post("/v1/api-keys", json={"name": "k", "scopes": ["read", "jobs"]}, headers=headers)
    assert (beyond.status_code, beyond.json()["errors"][0]["pointer"]) == (422, "/scopes")


def test_children_end_with_their_parents(browser_of: As, client: TestClient) -> None:
    browser = browser_of(Role.ENGINEER)
    parent, sibling = new_key(browser), new_key(browser)
    child = new_key(client, with_key(client, parent["key"]))
    grandchild = new_key(client, with_key(client, child["key"]))
    assert browser.delete(f"/v1/api-keys/{parent['id']}").status_code == 204
    codes = [
        client.get("/v1/me", headers=with_key(client, key["key"])).status_code
        for key in (parent, child, grandchild, sibling)
    ]
    assert codes == [401, 401, 401, 200]


@pytest.mark.parametrize("reset", [False, True])
def test_a_new_password_ends_sessions_and_keys_made_from_them(
    as_: As, browser_of: As, client: TestClient, person: Callable[..., Person], session: Session, reset: bool
) -> None:
    someone = person()
    browser, elsewhere = browser_of(someone), browser_of(someone)
    made = new_key(browser)
    child = new_key(client, with_key(client, made["key"]))
    _, of_machine = service.add_api_key(session, someone, NewApiKey(name="the service's own"))
    if reset:
        token, _ = service.begin_reset(session, someone)
        client.post(f"/v1/resets/{token}:accept", json={"password": NEW})
    else:
        page = browser.post("/account/password", data={"current": PASSWORD, "new": NEW}, follow_redirects=True)
        assert "still work:" in page.text
        assert "the service&#39;s own" in page.text
    assert browser.get("/v1/me").status_code == (401 if reset else 200)
    assert elsewhere.get("/v1/me").status_code == 401
    codes = [
        client.get("/v1/me", headers=with_key(client, key)).status_code
        for key in (made["key"], child["key"], of_machine)
    ]
    assert codes == [401, 401, 200]


def test_who_comes_back_gets_no_old_key_back(as_: As, client: TestClient, person: Callable[..., Person]) -> None:
    someone = person()
    key, admin = as_(someone), as_(Role.ADMIN)
    sign_in(client, someone)
    for active in (False, True):
        assert admin.patch(f"/v1/people/{someone.id}", json={"active": active}).status_code == 200
    assert (key.get("/v1/me").status_code, client.get("/v1/me").status_code) == (401, 401)


def test_keys_that_are_there_already_were_made_in_sessions(session: Session, person: Callable[..., Person]) -> None:
    """Of the migration; see also test_migrations."""
    assert {row.made_from for row in session.scalars(select(ApiKey))} <= set(MadeFrom)


# ---------------------------------------------------------------- sessions


def test_a_browser_that_rests_is_signed_out(browser_of: As, make: Any, session: Session) -> None:
    browser, project = browser_of(Role.ANNOTATOR), make.project()

    def rest(minutes: int) -> None:
        session.execute(update(LoginSession).values(seen_at=func.now() - timedelta(minutes=minutes)))

    rest(700)
    assert browser.get("/v1/me").status_code == 200
    assert session.scalar(select(func.now() - LoginSession.seen_at)) == timedelta(0)  # it was used now
    rest(700)
    assert browser.post(f"/v1/projects/{project.id}/next").status_code == 204
    assert session.scalar(select(func.now() - LoginSession.seen_at)) == timedelta(0)
    rest(4)
    assert browser.get("/v1/me").status_code == 200
    assert session.scalar(select(func.now() - LoginSession.seen_at)) == timedelta(minutes=4)  # exact enough
    rest(721)
    assert browser.get("/v1/me").status_code == 401
    assert browser.post(f"/v1/projects/{project.id}/next").status_code == 401


@pytest.mark.parametrize("page", [False, True])
def test_signing_in_again_ends_the_session_before(
    client: TestClient, person: Callable[..., Person], page: bool
) -> None:
    someone = person()
    assert sign_in(client, someone).status_code == 204
    old = client.cookies["rankloop"]
    body = {"email": someone.email, "password": PASSWORD}
    client.post("/login", data=body) if page else client.post("/v1/session", json=body)
    assert client.cookies["rankloop"] != old
    assert client.get("/v1/me").status_code == 200
    client.cookies.set("rankloop", old)
    client.cookies.delete("rankloop-device")
    assert client.get("/v1/me", headers={"Cookie": f"rankloop={old}"}).status_code == 401


# ---------------------------------------------------------------- several at once


def test_one_address_in_eight_invitations_at_once_makes_one_account(fresh_engine: Engine) -> None:
    with Session(fresh_engine) as session:
        tokens = [service.invite(session, Role.ANNOTATOR)[0] for _ in range(8)]
        session.commit()
    app = app_of(Settings(database_url="postgresql://given-by-the-engine"), fresh_engine)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    body = {"email": "same@example.org", "name": "A", "password": PASSWORD}
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(client.post, f"/v1/invitations/{token}:accept", json=body) for token in tokens]
        codes = sorted(answer.result().status_code for answer in sent)
    assert codes == [201] + [409] * 7
