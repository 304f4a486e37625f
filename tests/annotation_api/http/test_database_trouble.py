"""A database that takes nothing more: writes say so, reads go on, and what was acknowledged is there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role
from annotation_api.http.errors import database_problem
from annotation_api.people import service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.databases import engine_of
from tests.support.live import app_of

# As if no file could grow, whatever table it is of.
FULL = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full';
END $$
"""


@dataclass
class Scene:
    """A project with a task in hand and a second one, and an app on it."""

    url: str
    home: Path
    project: str
    keys: dict[Role, str]
    held: dict[str, Any]
    undo: ExitStack

    def client(self, role: Role) -> TestClient:
        """Of a fresh app, whose connections know the database's state."""
        engine = self.undo.enter_context(engine_of(self.url))
        app = app_of(Settings(database_url=self.url, home=self.home), engine)
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        return TestClient(app, base_url="http://localhost", headers=headers, raise_server_exceptions=False)

    def execute(self, *statements: str) -> None:
        with engine_of(self.url) as engine, engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def answer(self) -> dict[str, Any]:
        order = [[response["id"]] for response in self.held["responses"]]
        body = {"kind": "ranking", "assignment": self.held["assignment"], "payload": {"groups": order}}
        return body | {"id": str(uuid.uuid4())}


@pytest.fixture
def scene(fresh_database: str, factory: Any, tmp_path: Path) -> Iterator[Scene]:
    with engine_of(fresh_database) as engine, Session(engine, expire_on_commit=False) as session:
        make = factory(session)
        project = make.project(overlap=3)
        for number in range(2):
            make.task(make.prompt(project, f"{number}?"), overlap=3)
        keys = {role: service.add_api_key(session, make.person(role), NewApiKey(name="k"))[1] for role in Role}
        session.commit()
    with ExitStack() as undo:
        scene = Scene(fresh_database, tmp_path, str(project.id), keys, {}, undo)
        scene.held = scene.client(Role.ANNOTATOR).post(f"/v1/projects/{project.id}/next").json()
        yield scene


def writes(scene: Scene) -> list[tuple[Role, str, str, dict[str, Any]]]:
    held = scene.held["assignment"]
    return [
        (Role.ANNOTATOR, "POST", "/v1/submissions", scene.answer()),
        (Role.ANNOTATOR, "PUT", f"/v1/assignments/{held}/draft", {"payload": {"a": 1}}),
        (Role.REVIEWER, "POST", f"/v1/projects/{scene.project}/next", {}),
        (Role.ENGINEER, "POST", "/v1/projects", {"name": "another"}),
        (Role.ENGINEER, "POST", "/v1/api-keys", {"name": "k"}),
        (Role.ADMIN, "POST", "/v1/invitations", {"role": "annotator"}),
        (Role.ANNOTATOR, "POST", "/v1/session", {"email": "a@example.org", "password": "wrong"}),
    ]


READS = [
    (Role.ANNOTATOR, "/v1/me"),
    (Role.ANNOTATOR, "/v1/projects"),
    (Role.ANNOTATOR, "/v1/submissions"),
    (Role.ENGINEER, "/v1/jobs"),
    (Role.ENGINEER, "/jobs"),
    (Role.ADMIN, "/v1/people"),
    (Role.ADMIN, "/people"),
    (Role.ADMIN, "/v1/audit:verify"),
    (Role.ADMIN, "/readyz"),
    (Role.ENGINEER, "/metrics"),
]


def read_only(scene: Scene, name: str) -> list[str]:
    return [f'ALTER DATABASE "{name}" SET default_transaction_read_only = on']


def full(scene: Scene, name: str) -> list[str]:
    tables = ("submissions", "drafts", "assignments", "projects", "api_keys", "invitations", "rate_counters", "audit")
    triggers = [f"CREATE TRIGGER full_{t} BEFORE INSERT ON {t} EXECUTE FUNCTION no_room()" for t in tables]
    return [FULL, *triggers]


@pytest.mark.parametrize(
    ("trouble", "status", "slug"),
    [(read_only, 503, "database-read-only"), (full, 507, "database-full")],
)
def test_writes_are_refused_reads_go_on_and_nothing_acknowledged_is_lost(
    scene: Scene, trouble: Callable[..., list[str]], status: int, slug: str
) -> None:
    annotator = scene.client(Role.ANNOTATOR)
    acknowledged = annotator.post("/v1/submissions", json=scene.answer())
    assert acknowledged.status_code == 201
    scene.held = annotator.post(f"/v1/projects/{scene.project}/next").json()
    scene.execute(*trouble(scene, scene.url.rpartition("/")[2].partition("?")[0]))

    for role, method, path, body in writes(scene):
        answer = scene.client(role).request(method, path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:rankloop:{slug}"), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "5"
    for role, path in READS:
        assert scene.client(role).get(path).status_code == 200, path
    assert scene.client(Role.ANNOTATOR).get("/v1/people").status_code == 403  # although it cannot be recorded

    kept = scene.client(Role.ANNOTATOR).get("/v1/submissions").json()["items"]
    assert [row["id"] for row in kept] == [acknowledged.json()["id"]]
    page = scene.client(Role.REVIEWER).get(f"/projects/{scene.project}/annotate", headers={"Accept": "text/html"})
    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")


def test_other_faults_of_the_database_stay_ours(scene: Scene) -> None:
    """An internal error that is not about being read-only is a 500, not a time to try again."""
    broken = FULL.replace("no_room", "broken").replace("'disk_full'", "'internal_error'")
    scene.execute(broken, "CREATE TRIGGER broken BEFORE INSERT ON projects EXECUTE FUNCTION broken()")
    answer = scene.client(Role.ENGINEER).post("/v1/projects", json={"name": "x"})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:rankloop:internal")


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected(), psycopg.errors.LockNotAvailable()])
def test_who_waited_in_vain_for_others_is_told_so(error: psycopg.Error) -> None:
    """Not that the database is away, which the log's reader would look for."""
    told = database_problem(OperationalError("", {}, error))
    assert (told.status, told.slug, told.headers["Retry-After"]) == (503, "database-busy", "5")
