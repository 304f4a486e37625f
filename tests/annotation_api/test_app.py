"""The doors of the app: errors, hosts, origins, headers, sizes, health, and what importing it loads."""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import quote, urlencode

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy.orm import sessionmaker

from annotation_api.app import create_app
from annotation_api.db.tables import Role
from annotation_api.http.dependencies import public
from annotation_api.http.entry.declared import check_permissions
from annotation_api.settings import Settings, SettingsError

NOWHERE = Settings(database_url="postgresql://nobody@127.0.0.1:9/none")


def test_a_route_without_a_permission_stops_the_app() -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> None: ...

    app = FastAPI()
    app.include_router(router)
    with pytest.raises(RuntimeError, match=r"\['GET'\] /v1/forgotten"):
        check_permissions(app.routes)


def test_without_a_database_url_the_app_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKLOOP_DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="rankloop up"):
        create_app()


def test_a_lost_database_is_503_with_a_time_to_retry() -> None:
    client = TestClient(create_app(NOWHERE), base_url="http://localhost")
    answer = client.get("/v1/me", headers={"Authorization": "Bearer rl_x_y"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:rankloop:database-unavailable"
    assert "127.0.0.1" not in answer.text
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_fault_of_ours_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(NOWHERE)

    @app.get("/v1/broken", dependencies=[public])
    def broken() -> None:
        raise ValueError("the secret inside")

    with caplog.at_level(logging.ERROR):
        answer = TestClient(app, base_url="http://localhost").get("/v1/broken")
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:rankloop:internal"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "the secret inside" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [("GET", "/v1/nothing", 404, "not-found"), ("PUT", "/v1/session", 405, "method-not-allowed")],
)
def test_unknown_paths_and_methods(client, method: str, path: str, status: int, slug: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:rankloop:{slug}"


def test_a_misspelt_key_names_the_near_miss(as_) -> None:
    answer = as_(Role.ENGINEER).post("/v1/projects", json={"name": "x", "overlapp": 2})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/overlapp", "message": "Unknown key 'overlapp'. Did you mean 'overlap'?", "value": 2}
    ]


def test_a_body_that_is_no_json_is_422(as_) -> None:
    answer = as_(Role.ENGINEER).post("/v1/projects", content=b'{"name": ', headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "JSON" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
def test_text_that_postgres_cannot_hold_is_422(as_, text: str) -> None:
    body = f'{{"name": "a{text}b"}}'.encode()
    answer = as_(Role.ENGINEER).post("/v1/projects", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "\\uDFFF\\uD800"])
@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/projects", '{"name": "a%s"}', "/name"),
        ("/v1/projects", '{"name": "a", "forms": [{"kind": "ranking", "reasons": ["%s"]}]}', "/forms/0/reasons/0"),
        ("/v1/jobs:validate", '{"stage": "sft", "inputs": {"model": "%s"}}', "/inputs/model"),
        ("/v1/jobs:validate", '{"stage": "sft", "inputs": {"%s": 1}}', "/inputs"),
        ("/v1/pipelines:validate", '{"preset": "%s"}', "/preset"),
    ],
)
def test_a_text_that_cannot_be_stored_is_named_by_its_place(as_, path: str, body: str, pointer: str, text: str) -> None:
    sent = (body % text).encode()
    answer = as_(Role.ENGINEER).post(path, content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_half_a_pair_in_bytes_is_refused_too(as_) -> None:
    headers = {"Content-Type": "application/json"}
    for sent in (
        b'{"name": "\xed\xa0\x80"}',
        '{"name": "\\ud800"}'.encode("utf-16"),
        b'{"name": "\xed\x95\x9c\\ud800"}',
    ):
        answer = as_(Role.ENGINEER).post("/v1/projects", content=sent, headers=headers)
        assert [each["pointer"] for each in answer.json()["errors"]] == ["/name"], sent


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/v1/jobs?name=%00", "query:name"),
        ("/v1/leaderboard?criterion=a%00", "query:criterion"),
        ("/v1/aliases/%00/history", "path:name"),
    ],
)
def test_what_cannot_be_stored_in_an_address_is_named(as_, path: str, pointer: str) -> None:
    answer = as_(Role.ENGINEER).get(path)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_a_body_beyond_the_limit_is_413(as_) -> None:
    answer = as_(Role.ENGINEER).post("/v1/projects", json={"name": "x", "guidelines": "y" * (5 * 2**20)})
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:rankloop:too-large"


def test_another_host_name_is_refused(client) -> None:
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/healthz", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "[::1]:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),  # no browser
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost"}, True),  # a browser on plain HTTP sends no Sec-Fetch-Site
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost:9999"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_only_our_own_pages_may_use_a_cookie(browser_of, headers: dict[str, str], passes: bool) -> None:
    browser = browser_of(Role.ANNOTATOR)
    del browser.headers["Sec-Fetch-Site"]
    answer = browser.post("/v1/api-keys", json={"name": "x"}, headers=headers)
    assert answer.status_code == (201 if passes else 403)


def test_an_api_key_is_not_bound_to_an_origin(as_) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://tool.example"}
    assert as_(Role.ANNOTATOR).post("/v1/api-keys", json={"name": "x"}, headers=headers).status_code == 201


def test_every_answer_carries_the_security_headers(client) -> None:
    for path in ("/login", "/v1/me", "/static/style.css", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe-inline" not in policy
        for rule in ("frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'", "default-src 'none'"):
            assert rule in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert headers["x-frame-options"] == "DENY"
        assert len(headers["x-request-id"]) == 16


def test_under_tls_the_cookie_is_bound_to_host_and_https(engine, person, session) -> None:
    settings = Settings(
        database_url="postgresql://x",
        public_url="https://rank.example.org",
    )
    app = create_app(settings, engine)
    app.state.sessions = sessionmaker(bind=session.connection(), join_transaction_mode="create_savepoint")
    client = TestClient(app, base_url="https://rank.example.org")
    answer = client.post("/v1/session", json={"email": person().email, "password": "three plain words"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-rankloop=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert client.get("/v1/me").status_code == 200
    for origin, status in (("https://rank.example.org", 201), ("https://evil.example", 403)):
        assert client.post("/v1/api-keys", json={"name": "x"}, headers={"Origin": origin}).status_code == status


def test_the_schema_is_openapi_3_1_with_readable_operation_ids(client) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    answers = [a for path in schema["paths"].values() for way in path.values() for a in way["responses"].items()]
    named = schema["components"]["responses"]
    told = [answer for status, answer in answers if status == "default" or status >= "400"]
    errors = [named[one["$ref"].rpartition("/")[2]]["content"] if "$ref" in one else one["content"] for one in told]
    assert len(errors) > 50
    assert all(list(content) == ["application/problem+json"] for content in errors)
    ids = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    assert "create_project" in ids
    assert not any(path.startswith(("/login", "/projects")) for path in schema["paths"])


JUNK = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1e999",
    b'"x"',
    b"{}",
    b'{"x": NaN}',
    b'{"name": {"$gt": ""}, "id": 1}',
    b"[" * 2000,
]
NAMES = ("email", "password", "name", "role", "prompt", "responses", "payload", "groups", "stage", "inputs", "config")
JUNK += [json.dumps(dict.fromkeys(NAMES, value)).encode() for value in (None, -1, [], {}, "\u0000", "x" * 5000, [[1]])]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
FORMS = [urlencode(dict.fromkeys(NAMES, value)).encode() for value in ("\u0000", "x" * 5000)]


def sent_to(path: str) -> list[tuple[bytes, str]]:
    """Bodies with their types. A page reads forms: any JSON is to it what one is."""
    if path.startswith("/v1/"):
        return [(body, JSON) for body in JUNK]
    return [(b"{", JSON), *((body, FORM) for body in FORMS)]


def test_no_body_breaks_a_route(app: FastAPI, as_) -> None:
    """Whatever is sent, the answer is never a fault of ours."""
    admin, wrong = as_(Role.ADMIN), []
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute):
            continue
        for method in (context.methods or set()) - {"GET"}:
            path = re.sub(r"\{[^}]+\}", "00000000-0000-4000-8000-000000000000", str(context.path))
            for body, kind in sent_to(path):
                answer = admin.request(method, path, content=body, headers={"Content-Type": kind})
                if answer.status_code >= 500:
                    wrong.append(f"{method} {path} {body[:40]!r}: {answer.status_code}")
    assert wrong == []


@pytest.mark.parametrize("value", ["x", "-1", "99999999999999999999", "\x00", "1; DROP TABLE people", "../../etc"])
def test_no_query_or_path_breaks_a_route(app: FastAPI, as_, value: str) -> None:
    admin, wrong = as_(Role.ADMIN), []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute) and "GET" in (context.methods or ()):
            path = re.sub(r"\{[^}]+\}", quote(value, safe=""), str(context.path))
            query = dict.fromkeys(("limit", "cursor", "project", "kind", "stage", "state", "format", "name"), value)
            for params in ({}, query):
                status = admin.get(path, params=params, follow_redirects=False).status_code
                if status >= 500:
                    wrong.append(f"{path} {params}: {status}")
    assert wrong == []
