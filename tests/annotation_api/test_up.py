"""`rankloop up` as a person runs it: one process in the foreground, and nothing left when it ends."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from annotation_api.settings import Settings
from annotation_api.up import CannotStart, Service

pytestmark = pytest.mark.postgres
UP = [sys.executable, "-c", "from annotation_api.cli import main; raise SystemExit(main())", "up"]
API = "annotation_api.http.entry.listening"  # in its command line
LIMIT = 600.0  # seconds; on a quiet machine nothing here takes 10
Start = Callable[..., "subprocess.Popen[str]"]


@contextlib.contextmanager
def starting(home: Path) -> Iterator[Start]:
    """What starts `rankloop up` in that home; what is still there afterwards is killed."""
    running: list[subprocess.Popen[str]] = []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RANKLOOP_")}

    def run(*arguments: str, **extra: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*UP, *(arguments or ("--port", "0"))],
            env=environment | {"RANKLOOP_HOME": str(home)} | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """In a home of the test's own."""
    with starting(tmp_path / "home") as start:
        yield start


@dataclass(frozen=True)
class Running:
    """One that is up."""

    process: "subprocess.Popen[str]"
    home: Path
    url: str


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For the tests that leave it as they found it; then nobody reads it any more, and at last it is killed."""
    home = tmp_path_factory.mktemp("up") / "home"
    with starting(home) as start:
        process = start()
        yield Running(process, home, read_until(process, r"running at (\S+)"))


def read_until(process: "subprocess.Popen[str]", pattern: str) -> str:
    """Lines of the process until one matches; its first group."""
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"ended without {pattern!r}: {''.join(seen)}")


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False


def ready(url: str) -> bool:
    """Asked while the database is away: then an answer may take longer than anybody waits for it."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_up_prints_its_address_and_stops_without_a_trace(start: Start) -> None:
    process = start()
    read_until(process, r"(Starting the database) \.\.\.")
    read_until(process, r"(Starting the API and the dispatcher) \.\.\.")
    url = read_until(process, r"running at (\S+)")
    setup = read_until(process, r"works once\): (\S+)")
    assert setup.startswith(f"{url}/setup/")
    assert httpx.get(f"{url}/readyz").is_success
    tree = psutil.Process(process.pid).children(recursive=True)
    assert {"postgres"} < {p.name() for p in tree}
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 0
    wait_until(lambda: all_gone(tree), "a child outlived rankloop up")


def test_a_key_for_this_machine_lies_in_credentials(up: Running) -> None:
    path = up.home / "credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    stored = json.loads(path.read_text())
    assert stored["url"] == up.url
    me = httpx.get(f"{up.url}/v1/me", headers={"Authorization": f"Bearer {stored['api_key']}"})
    assert me.json()["role"] == "engineer"


def test_nobody_else_reads_its_home(up: Running) -> None:
    assert httpx.get(f"{up.url}/readyz").is_success
    home = up.home
    assert home.stat().st_mode & 0o066 == 0  # under root the database's user goes through it
    for path in home.rglob("*"):
        if "sockets" not in path.parts and "postgres" not in path.parts and not path.is_symlink():
            assert path.parent != home or path.is_dir() or path.stat().st_mode & 0o077 == 0, path
            assert path.name != "logs" or path.stat().st_mode & 0o077 == 0


def test_a_killed_api_comes_back(up: Running) -> None:
    api = next(p for p in psutil.Process(up.process.pid).children() if API in p.cmdline())
    api.kill()
    read_until(up.process, r"The (API) ended")
    wait_until(lambda: answers(up.url), "the API did not come back")


def test_a_killed_database_comes_back(up: Running) -> None:
    assert killed_postmaster(up.process)
    read_until(up.process, r"(Postgres) ended")
    wait_until(lambda: ready(up.url), "the database did not come back")


def test_nobody_need_read_what_it_says(up: Running) -> None:
    assert up.process.stdout
    up.process.stdout.close()
    api = next(p for p in psutil.Process(up.process.pid).children() if API in p.cmdline())
    api.kill()
    api.wait()  # the next one may answer before anybody has seen that there is none
    wait_until(lambda: answers(up.url), "the API did not come back")


def test_a_killed_parent_takes_everything_with_it(up: Running) -> None:
    tree = psutil.Process(up.process.pid).children(recursive=True)
    assert {"postgres"} < {process.name() for process in tree}
    up.process.kill()
    wait_until(lambda: all_gone(tree), f"left behind: {[p for p in tree if p.is_running()]}")


def killed_postmaster(process: subprocess.Popen[str]) -> bool:
    """Whether there was one; it may end by itself while it is looked at."""
    for found in postmasters(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.kill()
            return True
    return False


def postmasters(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Of its children; while it starts one, some come and go."""
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == "postgres" and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def test_a_database_that_dies_again_while_it_recovers_comes_back(start: Start) -> None:
    """The postmaster is killed, then each successor as soon as it is there."""
    process = start()
    url = read_until(process, r"running at (\S+)")
    for _ in range(3):
        wait_until(lambda: killed_postmaster(process), "no successor was started")
        wait_until(lambda: not postmasters(process), "it lives")
    wait_until(lambda: ready(url), "the database did not come back")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 0


def test_it_is_told_to_stop_while_its_database_is_away(start: Start) -> None:
    process = start()
    read_until(process, r"running at (\S+)")
    tree = psutil.Process(process.pid).children(recursive=True)
    for _ in range(2):
        wait_until(lambda: killed_postmaster(process), "no successor was started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 0
    wait_until(lambda: all_gone(tree), "a child outlived rankloop up")


def test_a_script_gets_one_line_of_json_and_damaged_credentials_are_written_anew(start: Start, tmp_path: Path) -> None:
    """And the allowed hosts of a public address do not shut out this machine itself."""
    credentials = tmp_path / "home" / "credentials.json"
    credentials.parent.mkdir()
    credentials.write_text("{")
    process = start("--port", "0", "--json", RANKLOOP_ALLOWED_HOSTS="rank.example.org", RANKLOOP_SLOT="3")
    line = json.loads(read_until(process, r"(\{.*\})"))
    assert line["setup_url"].startswith(line["url"])
    assert line["remarks"] == ["RANKLOOP_SLOT is set, but no setting is called so. Did you mean RANKLOOP_SLOTS?"]
    assert httpx.get(f"{line['url']}/readyz").is_success
    assert json.loads(credentials.read_text())["api_key"].startswith("rl_")


def test_migrate_prepares_a_database_and_may_be_repeated(fresh_database: str) -> None:
    environment = os.environ | {"RANKLOOP_DATABASE_URL": fresh_database}
    command = [*UP[:-1], "migrate"]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert "The database is up to date." in done.stdout
        assert "/setup/" in done.stdout


def test_a_taken_port_is_one_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--port", str(taken.getsockname()[1]), RANKLOOP_SLOT="3")
        output, _ = process.communicate(timeout=LIMIT)
    assert "Did you mean RANKLOOP_SLOTS?" in output
    assert process.returncode == 1
    assert "cannot be used" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("port", [0, 8000])
def test_a_host_that_is_not_this_machine_s_is_told_as_that(tmp_path: Path, port: int) -> None:
    """No other port would help."""
    with (
        pytest.raises(CannotStart, match=r"192\.0\.2\.1 is no address of this machine"),
        Service(Settings(home=tmp_path / "home"), "192.0.2.1", port),
    ):
        pass


def test_a_wrong_database_url_is_one_sentence(start: Start) -> None:
    for url in ("mysql://localhost/x", "postgresql://nobody@127.0.0.1:9/none"):
        process = start("--port", "0", RANKLOOP_DATABASE_URL=url)
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 1, output
        assert "Traceback" not in output
        assert len(output.strip().splitlines()) == 1, output


def test_a_wrong_setting_of_any_part_is_one_sentence_and_nothing_is_made(start: Start, tmp_path: Path) -> None:
    process = start("--port", "0", RANKLOOP_EXECUTOR="proces")
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, output
    assert "RANKLOOP_EXECUTOR cannot be used" in output
    assert "'proces'" in output
    assert not (tmp_path / "home").exists()


def test_it_will_not_listen_beyond_this_machine_without_an_admin(start: Start) -> None:
    process = start("--host", "0.0.0.0", "--port", "0")
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "there is no admin yet" in output
