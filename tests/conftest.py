"""A real Postgres for every test that asks for one, built by the real migrations.

RANKLOOP_TEST_POSTGRES_BIN chooses the programs of the embedded server (to test on 15 and on 18);
RANKLOOP_TEST_DATABASE_URL names a server instead, whose role may create databases.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from alignment.config import Stage
from alignment.records import Prompt, Record, canonical_json, sha256_text
from annotation_api.db import form_rows, job_requests, tables
from annotation_api.db.embedded import EmbeddedPostgres
from annotation_api.db.engine import make_engine, parse_url
from annotation_api.db.forms import RankingForm
from annotation_api.db.migrate import upgrade
from tests.support import dealing

# Of generated values: no limit on the time of one, which a busy machine would pass.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "postgres_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
    dealing.arrange(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> dealing.ByFile | None:
    return dealing.ByFile(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def reachable_home() -> Iterator[Path]:
    """A temporary RANKLOOP_HOME that an unprivileged server may enter (pytest's own may not be)."""
    home = Path(tempfile.mkdtemp(prefix="rankloop-test-", dir="/tmp"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_url(reachable_home: Path) -> Iterator[str]:
    """The server: its URL, of a database that no test writes to."""
    given = os.environ.get("RANKLOOP_TEST_DATABASE_URL")
    if given:
        yield given
        return
    programs = os.environ.get("RANKLOOP_TEST_POSTGRES_BIN")
    with EmbeddedPostgres(reachable_home, Path(programs) if programs else None) as server:
        _forgo_durability(server.url)
        yield server.url


def _forgo_durability(url: str) -> None:
    """The tests' data need not survive a power cut; the server is a throwaway of this run."""
    host = str(make_url(url).query["host"])
    with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET autovacuum = off")  # a database that it works in cannot be dropped
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated, empty database, of which others are quick copies."""
    with new_database(postgres_url) as url:
        upgrade(url)
        yield _name(url)


@pytest.fixture(scope="session")
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """A migrated database, shared by the tests that roll back what they did."""
    with new_database(postgres_url, template) as url:
        yield url


@pytest.fixture
def fresh_database(postgres_url: str, template: str) -> Iterator[str]:
    """A migrated database of this test's own, for code that commits on several connections."""
    with new_database(postgres_url, template) as url:
        yield url


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """A database of this test's own in which there is nothing."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def fresh_engine(fresh_database: str) -> Iterator[Engine]:
    engine = make_engine(fresh_database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def module_engine(postgres_url: str, template: str) -> Iterator[Engine]:
    """A migrated database of this module's own, for a server that its tests share."""
    with new_database(postgres_url, template) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session whose work is undone after the test, commits of the code under test included.

    The whole test is one transaction, so `now()` stands still in it. It may take as long as a busy machine needs,
    unlike the service's.
    """
    with engine.connect() as connection:
        outer = connection.begin()
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        outer.rollback()


@pytest.fixture
def make(session: Session) -> Factory:
    return Factory(session)


@pytest.fixture(scope="session")
def factory() -> type[Factory]:
    """For a session of the test's own: `factory(session).person()`."""
    return Factory


class new_database:
    """`with new_database(server, template) as url`: a database that is dropped afterwards."""

    def __init__(self, server: str, template: str = "template0") -> None:
        self.server, self.template, self.name = server, template, f"test_{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> str:
        self._execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{self.template}"')
        return parse_url(self.server).set(database=self.name).render_as_string(hide_password=False)

    def __exit__(self, *error: object) -> None:
        self._execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        engine = create_engine(parse_url(self.server), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def _name(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name


class Factory:
    """Rows with what a test does not care about filled in; each is flushed, so ids are there."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def _add(self, row: Any) -> Any:
        self.session.add(row)
        self.session.flush()
        return row

    def person(self, role: tables.Role = tables.Role.ENGINEER, **fields: Any) -> tables.Person:
        tag = uuid.uuid4().hex[:8]
        values = {"email": f"{tag}@example.org", "name": tag, "password_hash": "none", "pseudonym": f"annotator-{tag}"}
        return self._add(tables.Person(role=role, **values | fields))

    def project(self, person: tables.Person | None = None, **fields: Any) -> tables.Project:
        person = person or self.person()
        forms = fields.pop("forms", [RankingForm()])
        project = self._add(tables.Project(**{"name": uuid.uuid4().hex, "created_by": person.id} | fields))
        for form in forms:
            form_rows.add_form(self.session, project.id, form, person.id)
        return project

    def prompt(self, project: tables.Project, prompt: Prompt | str = "What is 2 + 2?") -> tables.PromptRow:
        record = Prompt.from_text(prompt) if isinstance(prompt, str) else prompt
        return self._add(tables.PromptRow(project_id=project.id, key=record.key, record=_json(record)))

    def task(self, prompt: tables.PromptRow, texts: tuple[str, ...] = ("four", "five"), **fields: Any) -> tables.Task:
        """A task with one new response for each text, in that order."""
        kind = fields.get("kind", tables.FeedbackKind.RANKING)
        form = form_rows.newest_form(self.session, prompt.project_id, kind)
        values = {"project_id": prompt.project_id, "prompt_id": prompt.id, "overlap": 1, "form_id": form.id}
        task = self._add(tables.Task(**values | fields))
        for position, answer in enumerate(texts):
            response = tables.ResponseRow(prompt_id=prompt.id, text=answer, text_hash=sha256_text(answer))
            self._add(response)
            self._add(tables.TaskResponse(task_id=task.id, position=position, response_id=response.id))
        return task

    def response_ids(self, task: tables.Task) -> list[uuid.UUID]:
        rows = self.session.query(tables.TaskResponse).filter_by(task_id=task.id)
        return [row.response_id for row in rows.order_by(tables.TaskResponse.position)]

    def assignment(self, task: tables.Task, person: tables.Person, **fields: Any) -> tables.Assignment:
        order = [str(i) for i in self.response_ids(task)]
        values = {"state": tables.AssignmentState.SUBMITTED, "display_order": order, "lease_until": text("now()")}
        return self._add(tables.Assignment(task_id=task.id, person_id=person.id, **values | fields))

    def submission(
        self, task: tables.Task, groups: list[list[int]], person: tables.Person | None = None, **fields: Any
    ) -> tables.Submission:
        """A judgement of `task`: `groups` hold positions, best first. With `supersedes`, pass `assignment_id` too."""
        ids = self.response_ids(task)
        payload = {"groups": [[str(ids[i]) for i in group] for group in groups]} | fields.pop("payload", {})
        if "assignment_id" not in fields:
            fields["assignment_id"] = self.assignment(task, person or self.person(tables.Role.ANNOTATOR)).id
        digest = sha256_text(canonical_json(payload))
        return self._add(tables.Submission(id=uuid.uuid4(), payload=payload, payload_hash=digest, **fields))

    def dataset(
        self, kind: tables.DatasetKind, records: list[Record], person: tables.Person | None = None
    ) -> tables.Dataset:
        """An imported file with one record on each row."""
        counts = {"accepted": len(records), "duplicates": 0, "rejected": 0}
        person = person or self.person()
        values = {"name": "file.jsonl", "format": "jsonl", "sha256": "0" * 64, "created_by": person.id}
        dataset = self._add(tables.Dataset(kind=kind, **values, **counts))
        for number, record in enumerate(records, start=1):
            digest = sha256_text(record.canonical())
            self.session.add(
                tables.DatasetRow(dataset_id=dataset.id, row=number, record_hash=digest, record=_json(record), part=0)
            )
        self.session.flush()
        return dataset

    def model(self, kind: tables.ModelKind = tables.ModelKind.BASE, **fields: Any) -> tables.ModelVersion:
        return self._add(tables.ModelVersion(**{"name": "tiny", "kind": kind, "path": "/models/tiny"} | fields))

    def job(self, stage: Stage = Stage.SFT, **fields: Any) -> tables.Job:
        """A queued job (blocked with `needs`), through the job store."""
        values: dict[str, Any] = {"inputs": {}, "config": {}, "gpus": 0.0}
        if "created_by" not in fields:
            fields["created_by"] = self.person().id
        return job_requests.create_job(self.session, stage, **values | fields)


def _json(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
