"""SQL text straight to the driver, within a session's transaction: for statements that run all day long.

What stands between a session and the driver costs four times as much as the driver itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, any_, cast, func, literal
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

LIGHTLY = "set_config('synchronous_commit', 'off', true)"  # also as a column of what a statement returns


def rows(session: Session, statement: str, **values: object) -> list[Any]:
    """The rows of a statement with %(name)s places, as named tuples.

    Raises what the session itself would raise: sqlalchemy.exc.DBAPIError of the fitting kind.
    """
    with _driver(session, statement) as driver, driver.cursor(row_factory=namedtuple_row) as cursor:
        cursor.execute(statement, values)
        found: list[Any] = cursor.fetchall()
        return found


def alone(session: Session, statement: str) -> None:
    """A statement that is a transaction by itself: one trip to the server, where BEGIN and COMMIT are two more.

    Where the caller's transaction has begun it is the last statement of that one, which is committed. Raises as `rows`.
    """
    with _driver(session, statement) as driver:
        if driver.info.transaction_status == TransactionStatus.IDLE:
            driver.autocommit = True
        try:
            driver.execute(statement)
        finally:
            if driver.autocommit and not driver.closed:
                driver.autocommit = False
    session.commit()


def copy_in(session: Session, statement: str, many: Iterable[Sequence[object]]) -> None:
    """Many rows by one COPY ... FROM STDIN. Raises as `rows`."""
    with _driver(session, statement) as driver, driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in many:
            copy.write_row(row)


@contextmanager
def _driver(session: Session, statement: str) -> Iterator[Any]:
    """The session's own connection, as the driver has it."""
    session.flush()
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    try:
        yield driver
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate()
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=driver.closed
        ) from error


def one_row(session: Session, statement: str, **values: object) -> Any:
    """The only row, or None."""
    found = rows(session, statement, **values)
    return found[0] if found else None


def one_of(column: Any, keys: Collection[uuid.UUID]) -> ColumnElement[bool]:
    """The column is one of the keys: a single parameter, however many there are. A statement takes 65,535 of them."""
    found: ColumnElement[bool] = column == any_(literal(list(keys), ARRAY(Uuid)))
    return found


def holds(column: Any, words: str) -> tuple[ColumnElement[bool], ...]:
    """A text in the JSON of `column` has these words, letter case aside.

    The quick look at the whole JSON comes first; the path leaves the names of fields out.
    """
    written = json.dumps(words, ensure_ascii=False)
    like = "".join(f"\\{mark}" if mark in "\\%_" else mark for mark in written[1:-1])
    path = f'$.** ? (@ like_regex {json.dumps(words)} flag "iq")'
    return (
        cast(column, Text).ilike(f"%{like}%", escape="\\"),
        func.jsonb_path_exists(column, cast(path, JSONPATH)),
    )


def commit_lightly(session: Session) -> None:
    """Let this transaction's commit not wait for the disk.

    A crash of Postgres or a power cut may take back what was committed so in the last second: right for a heartbeat
    and a draft, which come again; never for an answer, nor for a claim, on which somebody works meanwhile.
    """
    rows(session, f"SELECT {LIGHTLY}")
