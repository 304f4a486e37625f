"""The database as plain SQL: written by Postgres' own pg_dump, read back through our own connection.

Read back in one transaction of the caller's, so that what must be set right after it (paths, live jobs)
is part of it, and nothing is left when it fails. Needs no psql.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from annotation_api.db.engine import parse_url
from annotation_api.db.postgres.programs import folders, version_of
from annotation_api.operations.local import OperationError

LEFT_OUT = ("login_sessions", "dispatchers", "rate_counters", "homes")  # tables whose rows mean nothing elsewhere
CHUNK = 2**20
MADE_BY_POSTGRES = b"CREATE SCHEMA public;"  # there is one in every database
OPTIONS = ("--format=plain", "--encoding=UTF8", "--schema=public", "--no-owner", "--no-privileges", "--no-comments")


def write(url: str, snapshot: str, major: int, target: BufferedIOBase, advance: Callable[[int], object]) -> None:
    """Dump what the exported `snapshot` shows. Raises OperationError in pg_dump's own words."""
    program = find_pg_dump(major)
    parsed = parse_url(url)
    environment = {**os.environ, **({"PGPASSWORD": parsed.password} if isinstance(parsed.password, str) else {})}
    place = _place(parsed)
    without = [f"--exclude-table-data=public.{name}" for name in LEFT_OUT]
    command = [program, *OPTIONS, *without, f"--snapshot={snapshot}", "--lock-wait-timeout=60s", f"--dbname={place}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dump:
        assert dump.stdout is not None
        assert dump.stderr is not None
        while chunk := dump.stdout.read(CHUNK):
            target.write(chunk)
            advance(len(chunk))
        said = dump.stderr.read().decode(errors="replace").strip()
    if dump.returncode:
        raise OperationError(f"The database could not be read. pg_dump said: {' '.join(said.split())}")


def _place(url: URL) -> str:
    """For libpq, which reads a plus sign in a URL as one; without the password: everybody sees arguments."""
    named = url.set(password=None).translate_connect_args(database="dbname", username="user")
    return make_conninfo(**{**url.query, **named})


def find_pg_dump(major: int) -> str:
    """pg_dump of the server's own version: what another one writes may not be read back."""
    places = [*folders(), *([Path(found).parent] if (found := shutil.which("pg_dump")) else [])]
    seen = []
    for folder in places:
        version = version_of(folder, "pg_dump")
        if version == major:
            return str(folder / "pg_dump")
        seen.append(f"{folder} ({f'version {version}' if version else 'none'})")
    raise OperationError(
        f"The server is Postgres {major}, and its pg_dump was not found; looked at: {', '.join(seen)}. "
        "Install that version's client programs, or name their folder in RANKLOOP_POSTGRES_BIN."
    )


def read(connection: Connection, script: Iterable[bytes]) -> None:
    """Carry out a dump within the connection's transaction. The database must be empty."""
    driver: Any = connection.connection.driver_connection
    with _in_words(), driver.cursor() as cursor:
        lines = iter(script)
        waiting: list[bytes] = []
        for line in lines:
            if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
                _execute(cursor, waiting)
                with cursor.copy(line) as copy:
                    for chunk in _rows(lines):
                        copy.write(chunk)
            elif not line.startswith(b"\\") and line.strip() != MADE_BY_POSTGRES:  # a backslash speaks to psql
                waiting.append(line)
        _execute(cursor, waiting)
    connection.execute(text("RESET search_path"))
    connection.execute(text("RESET row_security"))


@contextmanager
def _in_words() -> Iterator[None]:
    """What the database objects to, or a file that is cut short, is the backup's fault and said in a sentence."""
    try:
        yield
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise OperationError(f"The backup's database cannot be read back. Postgres said: {said}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OperationError(f"The backup's database is damaged: {error}.") from error


def _execute(cursor: Any, waiting: list[bytes]) -> None:
    statement = b"".join(waiting)
    waiting.clear()
    if statement.strip():
        cursor.execute(statement)


def _rows(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines of COPY up to its end mark, several at once."""
    held, size = [], 0
    for line in lines:
        if line == b"\\.\n":
            break
        held.append(line)
        size += len(line)
        if size > CHUNK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
