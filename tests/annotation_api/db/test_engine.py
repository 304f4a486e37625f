"""What a wrong URL, an absent server and a lost connection look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from annotation_api.db.engine import DatabaseUnavailable, make_engine, session_factory
from annotation_api.db.tables import Person
from tests.support.databases import engine_of
from workers.attempt.lease import LEASE_SECONDS


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read; it looks like postgresql://user:password@host:5432/name"),
        ("localhost", "cannot be read"),
        ("postgresql://u:p@host:port/x", "cannot be read"),
        ("mysql://u:hunter2@host/x", "starts with mysql://, but Rankloop stores its data in Postgres"),
        ("postgresql+asyncpg://h/x", r"starts with postgresql\+asyncpg://"),
    ],
)
def test_a_wrong_url(url: str, says: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=says) as caught:
        make_engine(url)
    assert "hunter2" not in str(caught.value)


def test_both_ways_to_write_the_driver() -> None:
    urls = {make_engine(f"{scheme}://u@h:1/x").url for scheme in ("postgresql", "postgresql+psycopg", "postgres")}
    assert {url.drivername for url in urls} == {"postgresql+psycopg"}


def test_an_absent_server(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"^Postgres at .*, database x cannot be reached: ") as caught:
        make_engine(f"postgresql://u:hunter2@/x?host={tmp_path}").connect()
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_database_name(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match='database "no_such_thing" does not exist'):
        make_engine(postgres_url.replace("/rankloop?", "/no_such_thing?")).connect()


def test_a_lost_connection_is_named_and_the_next_one_works(fresh_database: str) -> None:
    with engine_of(fresh_database) as engine:
        with pytest.raises(DatabaseUnavailable, match="closed the connection"), engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1


def test_a_connection_that_died_in_the_pool_is_replaced(fresh_database: str) -> None:
    with engine_of(fresh_database) as engine, engine_of(fresh_database) as another:
        with engine.connect() as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with another.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT pg_backend_pid()")) != pid


def test_other_errors_stay_what_they_are(engine: Any) -> None:
    with pytest.raises(DBAPIError, match="division by zero"), engine.connect() as connection:
        connection.execute(text("SELECT 1 / 0"))


def test_nobody_waits_for_ever(engine: Any) -> None:
    with engine.connect() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.scalar(text(f"SHOW {name}")) not in ("0", None)


def test_a_tests_own_transaction_has_no_limit_that_a_busy_machine_passes(session: Session) -> None:
    limits = ("statement_timeout", "idle_in_transaction_session_timeout")
    assert [session.scalar(text(f"SHOW {name}")) for name in limits] == ["0", "0"]


def test_the_url_may_say_otherwise(fresh_database: str) -> None:
    url = f"{fresh_database}&options=-c%20statement_timeout%3D5s"
    with engine_of(url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "5s"
        assert connection.scalar(text("SHOW lock_timeout")) == "10s"


def test_a_connection_that_is_cut_off_is_noticed_before_a_lease_ends(fresh_database: str) -> None:
    """Seen from the client: what the server sets has no meaning on a socket of this machine."""
    with engine_of(fresh_database) as engine, engine.connect() as connection:
        told = connection.connection.driver_connection.info.get_parameters()
    assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("12000", "5")
    idle, interval, count = (int(told[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * count < LEASE_SECONDS
    longer = make_url(fresh_database).update_query_dict({"tcp_user_timeout": "30000"})
    with engine_of(longer.render_as_string(hide_password=False)) as engine, engine.connect() as connection:
        assert connection.connection.driver_connection.info.get_parameters()["tcp_user_timeout"] == "30000"


def test_objects_stay_readable_after_a_commit(fresh_engine: Any, factory: Any) -> None:
    with session_factory(fresh_engine)() as session:
        person = factory(session).person(name="Ada")
        session.commit()
    assert person.name == "Ada"


def test_the_test_session_undoes_commits(session: Session, make: Any) -> None:
    make.person(email="only@here")
    session.commit()
    assert session.query(Person).filter_by(email="only@here").count() == 1


def test_the_test_session_has_undone_it(session: Session) -> None:
    assert session.query(Person).filter_by(email="only@here").count() == 0
