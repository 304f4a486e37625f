"""SQL text straight to the driver behaves as a session does."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from annotation_api.db.sql import copy_in, one_row, rows
from annotation_api.db.tables import DatasetKind


def test_it_sees_what_the_session_has_not_written_yet(session: Session, make) -> None:
    person = make.person()
    person.name = "Ada"
    assert one_row(session, "SELECT name FROM people WHERE id = %(id)s", id=person.id).name == "Ada"
    assert one_row(session, "SELECT name FROM people WHERE name = %(name)s", name="Nobody") is None


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("SELECT 1 / (%(n)s - 65)", DataError), ("INSERT INTO people (id) VALUES (NULL)", IntegrityError)],
)
def test_errors_are_those_of_the_session(session: Session, statement: str, kind: type[Exception]) -> None:
    with pytest.raises(kind), session.begin_nested():
        rows(session, statement, n=65)


def test_many_rows_are_copied_or_none(session: Session, make) -> None:
    dataset = make.dataset(DatasetKind.PROMPTS, [])
    statement = "COPY dataset_rows (dataset_id, row, part, record_hash, record) FROM STDIN"
    copy_in(session, statement, [(dataset.id, n, 0, "0" * 64, '{"a": "tab\\t and 问"}') for n in range(3)])
    stored = "SELECT record->>'a' AS said FROM dataset_rows WHERE dataset_id = %(dataset)s"
    assert [row.said for row in rows(session, stored, dataset=dataset.id)] == ["tab\t and 问"] * 3
    with pytest.raises(IntegrityError), session.begin_nested():
        copy_in(session, statement, [(dataset.id, n, 0, "0" * 64, "{}") for n in (7, 2)])
    assert len(rows(session, stored, dataset=dataset.id)) == 3


def test_a_lost_connection_is_named_and_the_next_one_works(fresh_engine) -> None:
    with pytest.raises(OperationalError), Session(fresh_engine) as session:
        rows(session, "SELECT pg_terminate_backend(pg_backend_pid())")
    with Session(fresh_engine) as session:
        assert session.scalar(text("SELECT 1")) == 1
