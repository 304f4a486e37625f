"""`rankloop up`: the whole service in the foreground, and all of it stopped on Ctrl-C.

One parent, three children: the embedded Postgres (unless RANKLOOP_DATABASE_URL is set), the API and
the dispatcher. A child that dies is started again (`supervision`), and goes on being so until the parent is told to
stop; a parent that is killed takes its children with it. Job launchers belong to the dispatcher, which ends them on
SIGTERM.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import httpx
from sqlalchemy import Engine

from annotation_api.db.engine import DatabaseUnavailable, make_engine, session_factory
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.exposure import is_loopback, missing
from annotation_api.operations.doctor import close
from annotation_api.people.service import ensure_local_engineer_key, ensure_setup_link
from annotation_api.processes import parts
from annotation_api.processes.part import Part
from annotation_api.processes.supervision import Child, Database, die_with_parent, rotate
from annotation_api.settings import Settings, SettingsError
from annotation_api.worker_settings import WorkerSettings, remarks

SETUP = "Make the first admin account here (the link works once):"
LOGS_EVERY = 60.0  # seconds between looks at the size of logs
START_LIMIT = 60.0  # seconds until the first page must answer


class CannotStart(Exception):
    """The service cannot come up; the message is one sentence for the person at the terminal."""


class Service:
    """The running service: a context manager that starts every part and stops it again.

    Inside, `url` is where the API answers, `setup_url` the one-time link for the first admin (None when
    there is one) and `api_key` an engineer's key of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        host: str,
        port: int,
        say: Callable[[str], None] = print,
        step: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings.model_copy(update={"home": settings.home.resolve()})
        self.host, self.say, self.step = host, say, step
        self.port = port or _free_port(host)
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # a wildcard is no address to go to
        self.url = f"http://{f'[{reached}]' if ':' in reached else reached}:{self.port}"
        self.setup_url: str | None = None
        self.api_key = ""
        self.children: list[Child] = []
        self.postgres: Database | None = None
        self._logs_due = 0.0
        self._undo = ExitStack()

    def __enter__(self) -> Service:
        with self._undo:  # undone here only if a step below raises
            _refuse_taken_port(self.host, self.port)
            home = self.settings.home
            for folder in ("artifacts", "staging", "models", "logs"):
                (home / folder).mkdir(parents=True, exist_ok=True)
            close(home, as_root=os.geteuid() == 0, ours=os.geteuid())
            database_url = self._database()
            engine = make_engine(database_url)
            try:
                upgrade(database_url)
                self._people(engine)
            finally:
                engine.dispose()
            self.step("Starting the API and the dispatcher ...")
            self._spawn(database_url)
            self._wait_until_ready()
            self._write_credentials()
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def tend(self) -> None:
        """Start again what died, whatever it was, and keep the logs from growing without end."""
        if self.postgres:
            self.postgres.tend(self.say)
        for child in self.children:
            child.tend(self.say)
        self._keep_logs_short()

    def _keep_logs_short(self) -> None:
        if time.monotonic() < self._logs_due:
            return
        self._logs_due = time.monotonic() + LOGS_EVERY
        for log in (self.settings.home / "logs").glob("*.log"):
            try:
                rotate(log)
            except OSError as error:  # no room for the copy: the service goes on all the same
                self.say(f"The log {log} cannot be rotated: {error}")

    def _database(self) -> str:
        if self.settings.database_url:
            return self.settings.database_url
        self.step("Starting the database ...")
        server = EmbeddedPostgres(self.settings.home)
        self.postgres = Database(server)
        self._undo.callback(self.postgres.stop)
        return server.start()

    def _people(self, engine: Engine) -> None:
        with session_factory(engine)() as session:
            if not is_loopback(self.host) and (reason := missing(session, self.settings)):
                raise CannotStart(f"Refusing to listen on {self.host}: {reason}")
            token = ensure_setup_link(session)
            self.setup_url = f"{self.url}/setup/{token}" if token else None
            self.api_key = ensure_local_engineer_key(session, self._stored_key())
            session.commit()

    def _stored_key(self) -> str | None:
        path = self.settings.home / "credentials.json"
        try:
            return str(json.loads(path.read_text())["api_key"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or damaged: a new one is made
            return None

    def _spawn(self, database_url: str) -> None:
        settings = self.settings.model_copy(update={"database_url": database_url})
        environment = settings.to_environment(os.environ) | {"PYTHONUNBUFFERED": "1"}
        for name, part in (("API", Part.API), ("dispatcher", Part.DISPATCHER)):
            command = parts.command(part, settings, self.host, self.port)
            told = parts.environment(part, settings, environment)
            child = Child(name, command, told, self.settings.home / "logs" / f"{part.value}.log")
            child.start()
            self._undo.callback(child.stop)
            self.children.append(child)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            for child in self.children:
                if child.process.poll() is not None:
                    raise CannotStart(f"The {child.name} ended at once. The end of its log:\n{child.last_words()}")
            if self._answers():
                return
            time.sleep(0.1)
        raise CannotStart(f"The API did not answer within {START_LIMIT:.0f} s. Its log: {self.children[0].log}")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).is_success
        except httpx.TransportError:  # not listening yet
            return False

    def _write_credentials(self) -> None:
        path = self.settings.home / "credentials.json"
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"url": self.url, "api_key": self.api_key}, file)
        fresh.replace(path)


def main(host: str, port: int, as_json: bool = False) -> int:
    """Run until Ctrl-C or SIGTERM; the exit code. `as_json`: one line, {"url", "setup_url", "remarks"}, and no more."""
    say: Callable[[str], None] = (lambda text: None) if as_json else say_anyway
    step: Callable[[str], None] = (lambda text: None) if as_json else _step
    os.umask(0o077)  # what the service writes is nobody else's to read
    stop = False

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last one: its terminal was closed
        signal.signal(told, ask_to_stop)
    try:
        WorkerSettings.from_environment()  # the dispatcher's too, before anything is made
        unknown = remarks(os.environ)
        for remark in unknown:
            step(remark)
        with Service(Settings.from_environment(), host, port, say, step) as service:
            if as_json:
                say_anyway(json.dumps({"url": service.url, "setup_url": service.setup_url, "remarks": unknown}))
            say(f"Rankloop is running at {service.url}")
            if service.setup_url:
                say(f"{SETUP} {service.setup_url}")
            say("Stop with Ctrl-C.")
            while not stop:
                service.tend()
                time.sleep(0.5)
            say("Stopping ...")
    except (CannotStart, SettingsError, DatabaseUnavailable) as reason:
        return failed("up", str(reason), as_json)
    return 0


def failed(command: str, reason: str, as_json: bool) -> int:
    """Say why a command that runs a service, or prepares for one, came to nothing; its exit code."""
    if as_json:
        say_anyway(json.dumps({"error": reason}, ensure_ascii=False))
    else:
        _step(f"rankloop {command}: {reason}")
    return 1


def say_anyway(text: str) -> None:
    """Whether or not anybody still reads it: a pipe that was closed does not end the service."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _step(text: str) -> None:
    """What it is at, for who waits: on standard error, which may be closed likewise."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def migrate(as_json: bool = False) -> int:
    """Bring the configured database up to date, for services that run apart; the exit code."""
    try:
        settings = Settings.from_environment()
        if settings.database_url is None:
            raise CannotStart("RANKLOOP_DATABASE_URL is not set; `rankloop up` migrates the embedded Postgres itself.")
        upgrade(settings.database_url)
        engine = make_engine(settings.database_url)
        try:
            with session_factory(engine).begin() as session:
                token = ensure_setup_link(session)
        finally:
            engine.dispose()
    except (CannotStart, SettingsError, DatabaseUnavailable) as reason:
        return failed("migrate", str(reason), as_json)
    link = f"{settings.public_url or 'http://127.0.0.1:8000'}/setup/{token}" if token else None
    say_anyway(json.dumps({"setup_url": link}) if as_json else "The database is up to date.")
    if link and not as_json:
        say_anyway(f"{SETUP} {link}")
    return 0


def start_module(module: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m module ...` beside the service; it ends with this process."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=die_with_parent,
        )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _free_port(host: str) -> int:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise CannotStart(f"{host} is no address of this machine ({error.strerror}).") from error
        return int(probe.getsockname()[1])


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:  # no port helps
                raise CannotStart(f"{host} is no address of this machine ({error.strerror}).") from error
            raise CannotStart(f"Port {port} on {host} cannot be used ({error.strerror}). Try --port 0.") from error
