"""Connections: one engine a process, made from one URL.

A URL that cannot work and a server that cannot be reached both end in `DatabaseUnavailable`, one
sentence without the password.
"""

from __future__ import annotations

import select
import time

import psycopg
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

DRIVER = "postgresql+psycopg"
CONNECT_SECONDS = "5"
RESTED_SECONDS = 30.0
# How soon either end notices that the other is cut off, where packets vanish without a word: sooner than a lease ends.
CABLE = {"keepalives_idle": "5", "keepalives_interval": "3", "keepalives_count": "3", "tcp_user_timeout": "12000"}
SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": "60s",
    "lock_timeout": "10s",  # a waiter gives up before its client does
    "idle_in_transaction_session_timeout": "300s",  # a hung process cannot hold its locks for ever
    **{f"tcp_{name.removeprefix('tcp_')}": value for name, value in CABLE.items()},
}


class DatabaseUnavailable(Exception):
    """There is no database to work with: it cannot be reached, went away, or is not usable as it is.

    The message is one sentence for the person who runs Rankloop.
    """


def parse_url(url: str) -> URL:
    """Read `postgresql://` or `postgresql+psycopg://`; raise DatabaseUnavailable for anything else."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseUnavailable(
            "The database URL cannot be read; it looks like postgresql://user:password@host:5432/name."
        ) from error
    if parsed.drivername not in ("postgresql", "postgres", DRIVER):
        raise DatabaseUnavailable(
            f"The database URL starts with {parsed.drivername}://, but Rankloop stores its data in Postgres: "
            "use postgresql://user:password@host:5432/name."
        )
    return parsed.set(drivername=DRIVER)


def make_engine(url: str, *, application_name: str = "rankloop", kept: int = 5, most: int = 42) -> Engine:
    """An engine whose connections are checked before use and give up within stated times.

    Connects to nothing yet; up to `kept` of `most` connections stay open between uses. While it is used,
    DatabaseUnavailable is raised when the server cannot be reached or a connection was lost.
    """
    parsed = parse_url(url)
    engine = create_engine(
        parsed,
        pool_size=kept,
        max_overflow=most - kept,
        pool_timeout=10,
        pool_use_lifo=True,  # the connection used last knows the tables and has its statements prepared
        hide_parameters=True,  # errors are logged, and parameters hold what people wrote
        connect_args={"application_name": application_name} | _connection_settings(parsed),
    )
    event.listen(engine, "handle_error", _name_unavailable)
    event.listen(engine, "checkin", _note_time)
    event.listen(engine, "checkout", _check_alive)
    return engine


def _note_time(connection: object, record: ConnectionPoolEntry) -> None:
    record.info["returned"] = time.monotonic()


def _check_alive(connection: psycopg.Connection[object], record: ConnectionPoolEntry, _proxy: object) -> None:
    """Have the pool replace a connection that died in it.

    A question to the server costs as much as a small query, so it is asked only of a connection that rested
    for long or that has something to read: a server that goes away says so, or closes the socket.
    """
    rested = time.monotonic() - record.info.get("returned", time.monotonic())
    watch = select.poll()
    watch.register(connection.fileno(), select.POLLIN)
    if rested < RESTED_SECONDS and not watch.poll(0):
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.OperationalError as error:
        raise DisconnectionError("the connection died in the pool") from error


def _connection_settings(url: URL) -> dict[str, str]:
    """Ours, unless the URL says otherwise."""
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    theirs = {name: str(value) for name, value in url.query.items()}
    ours = {"connect_timeout": CONNECT_SECONDS} | CABLE
    return {name: theirs.get(name, value) for name, value in ours.items()} | {
        "options": f"{settings} {theirs.get('options', '')}".strip(),
    }


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions on `engine`; objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


def _name_unavailable(context: ExceptionContext) -> None:
    """Turn a failed connect and a lost connection into DatabaseUnavailable; leave the rest alone."""
    connecting = context.connection is None
    if not isinstance(context.original_exception, psycopg.OperationalError):
        return
    if connecting or context.is_disconnect:
        place = _place(context.engine.url) if context.engine else "the database"
        what = "cannot be reached" if connecting else "closed the connection"
        cause = " ".join(str(context.original_exception).split())
        raise DatabaseUnavailable(f"Postgres at {place} {what}: {cause}") from context.original_exception


def _place(url: URL) -> str:
    """Where the server is, without user and password."""
    host = url.host or url.query.get("host") or "the default socket"
    return f"{host}{f':{url.port}' if url.port else ''}, database {url.database}"
