"""A real Postgres for every test that asks for one, built by the real migrations.

RANKLOOP_TEST_POSTGRES_BIN chooses the programs of the embedded server (to test on 15 and on 18);
RANKLOOP_TEST_DATABASE_URL names a server instead, whose role may create databases.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from tests.compose.boxes.host import lacking
from tests.support import dealing
from tests.support.databases import new_database
from tests.support.factory import Factory

# Of generated values: no limit on the time of one, which a busy machine would pass.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes by their place: packed ones hold the time of day, and all workers must collect the same names."""
    return argname if isinstance(val, bytes) and not (val.isascii() and len(val) < 40) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "postgres_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
    dealing.arrange(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> dealing.ByFile | None:
    return dealing.ByFile(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Machines and containers of a test's own need root and namespaces; on CI they must be had."""
    reason = lacking()
    if reason and os.environ.get("CI"):
        pytest.fail(f"Namespaces cannot be made: {reason}.")
    if reason:
        pytest.skip(f"Namespaces cannot be made: {reason}.")


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


def _name(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name
