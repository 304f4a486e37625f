"""A Postgres of our own, below RANKLOOP_HOME, that needs no installation and leaves nothing behind.

It listens on a private socket only and lets in the user who runs Rankloop (peer authentication).
One process owns it, says so in a lock file, and takes it along when it dies, even by SIGKILL. The
data outlive all of this: a start after a crash clears what the crash left and recovers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from annotation_api.db.postgres.account import Account, EmbeddedPostgresError, our_name, server_account
from annotation_api.db.postgres.places import RECORD, OwnerLock, Places, find_places
from annotation_api.db.postgres.processes import clear_remains, end, spawn
from annotation_api.db.postgres.programs import Programs, find_programs

NAME = "rankloop"  # of the role and of its database
SUPERUSER = "postgres"
START_SECONDS = 300  # a crash recovery may take a while
RETRIES = 6
# What a server says that found the remains of another one, which are about to go.
REMAINS = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

HBA = "local all all peer map=rankloop\n"


class EmbeddedPostgres:
    """`with EmbeddedPostgres(home) as server: make_engine(server.url)`."""

    def __init__(self, home: Path, programs: Path | None = None) -> None:
        """`home` is RANKLOOP_HOME; `programs` is a folder with `postgres` and `initdb`, unset: look for one."""
        self.home = home.resolve()
        self._chosen = programs
        self._lock = OwnerLock(self.home / "postgres.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None  # the folder from a start to `stop`, through all restarts: clients know it
        self._account: Account
        self._places: Places
        self._programs: Programs

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None, "call start() first"
        return self._process.pid

    @property
    def url(self) -> str:
        """Valid while the server runs, for processes of the same user."""
        return _url(str(self._places.sockets))

    def stop_and_forget(self) -> None:
        """Stop the server and remove its data: for one that was begun in vain."""
        self.stop()
        shutil.rmtree(self._places.data, ignore_errors=True)
        (self.home / RECORD).unlink(missing_ok=True)

    def start(self, given_up: Callable[[], bool] = lambda: False) -> str:
        """Make the data directory if there is none, start the server, and return its URL once it answers.

        May be called again after the server died; its owner stays the owner, whether or not it starts.
        Raises EmbeddedPostgresError when another process owns it, when no Postgres is found, when the server ends
        instead of starting, or when it is `given_up`.
        """
        if self.running:
            return self.url
        self.home.mkdir(parents=True, exist_ok=True)
        stop = self._end if self._lock.is_taken else self.stop
        self._lock.take()
        try:
            self._prepare()
            self._launch(given_up)
            self._ensure_database()
        except psycopg.OperationalError as error:  # it died again just after it answered
            stop()
            raise EmbeddedPostgresError(f"The embedded Postgres went away: {' '.join(str(error).split())}") from error
        except BaseException:
            stop()
            raise
        return self.url

    def stop(self) -> None:
        """End all connections and the server; the data stay."""
        self._end()
        if self._sockets is not None:
            self._places.tidy()
            self._sockets = None
        self._lock.release()

    def _end(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def _prepare(self) -> None:
        self._account = server_account()
        self._places = find_places(self.home, self._account, self._sockets)
        self._sockets = self._places.sockets
        made_by = self._places.data / "PG_VERSION"
        major = int(made_by.read_text()) if made_by.exists() else None
        self._programs = find_programs(self._account, self._chosen, major)
        if major is None:
            self._initdb()
        self._write(self._places.data / "pg_hba.conf", HBA)
        lines = [f"{NAME} {our_name()} {role}\n" for role in (NAME, SUPERUSER)]
        self._write(self._places.data / "pg_ident.conf", "".join(lines))

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)
        if not self._account.is_us:
            os.chown(path, self._account.uid, self._account.gid)

    def _initdb(self) -> None:
        """Into a folder beside the final one, so that a killed initdb leaves no half data directory."""
        staging = self._places.fresh_staging(self._account)
        said = ""
        for locale in _locales(self._programs.major):
            command = [self._programs["initdb"], "-D", str(staging), "-U", SUPERUSER, "--auth=peer", "--encoding=UTF8"]
            made = self._account.run([*command, *locale, "--data-checksums", "--no-instructions"], cwd=str(staging))
            if made.returncode == 0:
                staging.rename(self._places.data)
                return
            said = made.stderr.strip()
        raise EmbeddedPostgresError(f"initdb could not make a data directory at {self._places.data}: {said}")

    def _launch(self, given_up: Callable[[], bool]) -> None:
        """Start the server; when the remains of a killed one are in the way, clear them and try again."""
        for attempt in range(RETRIES):
            clear_remains(self._places.data)
            said = self._try_launch(given_up)
            if said is None:
                return
            if not any(cause in said for cause in REMAINS):
                break
            time.sleep(0.1 * 2**attempt)
        raise EmbeddedPostgresError(f"The embedded Postgres ended at its start; see {self._log}. It said: {said}")

    @property
    def _log(self) -> Path:
        return self.home / "logs" / "postgres.log"

    def _try_launch(self, given_up: Callable[[], bool]) -> str | None:
        """Start once; None when it answers, otherwise what the server wrote before it ended."""
        self._log.parent.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = spawn(self._command(), self._account, log.fileno(), self._places.data)
        if self._wait_until_ready(given_up):
            return None
        self._process = None
        with self._log.open("rb") as log:
            log.seek(begin)
            return " ".join(log.read().decode(errors="replace").split())[-2000:]

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": '"' + str(self._places.sockets).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._programs["postgres"], "-D", str(self._places.data), *flags]

    def _wait_until_ready(self, given_up: Callable[[], bool]) -> bool:
        """True once a connection works; False when the server ended before."""
        deadline = time.monotonic() + START_SECONDS
        while self.running:
            with contextlib.suppress(psycopg.OperationalError):
                self._connect().close()
                return True
            if given_up():
                raise EmbeddedPostgresError("The embedded Postgres was stopped while it started.")
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"The embedded Postgres gave no answer in {START_SECONDS} s: {self._log}")
            time.sleep(0.02)
        return False

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        host = str(self._places.sockets)
        return psycopg.connect(host=host, user=SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5)

    def _ensure_database(self) -> None:
        """The application's role is no superuser; it owns its database and may make further ones."""
        name = sql.Identifier(NAME)
        with self._connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [NAME]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(name))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))


def running_url(home: Path) -> str | None:
    """The URL of the server that some process runs for this home now; None when none does."""
    record = home.resolve() / RECORD
    if not record.exists():
        return None
    try:
        lines = (record.parent / json.loads(record.read_text())["data"] / "postmaster.pid").read_text().splitlines()
        url = _url(lines[4])  # the folder of its socket
        psycopg.connect(url, connect_timeout=5).close()
    except (FileNotFoundError, IndexError, psycopg.OperationalError):  # stopped, just starting, or killed
        return None
    return url


def _url(sockets: str) -> str:
    return f"postgresql://{NAME}@/{NAME}?host={quote(sockets, safe='')}"


def _locales(major: int) -> Iterator[list[str]]:
    """Order by code point and know Unicode's letters, without the machine's locale files if possible."""
    if major >= 17:
        yield ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    yield ["--locale=C.UTF-8"]
    yield ["--locale=C"]
