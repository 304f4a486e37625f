"""The embedded Postgres through crashes: of the server, of its owner, and of both."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from annotation_api.db.postgres import places, programs
from annotation_api.db.postgres.account import Account, EmbeddedPostgresError, server_account
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.postgres.processes import _servers_on

pytestmark = pytest.mark.postgres

DEBIAN = Path("/usr/lib/postgresql/15/bin")
OWNER = """
import sys
from pathlib import Path
from annotation_api.db.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root does differently")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")


class _Folder(tempfile.TemporaryDirectory[str]):
    """A folder that the server's user may enter; pytest's own belong to the caller alone."""

    def __enter__(self) -> Path:  # type: ignore[override]
        folder = Path(self.name).resolve()
        folder.chmod(0o755)
        return folder


@pytest.fixture
def empty() -> Iterator[Path]:
    with _Folder(prefix="rankloop-test-", dir="/tmp") as folder:
        yield folder


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    with _Folder(prefix="rankloop-test-", dir="/tmp") as folder:
        with EmbeddedPostgres(folder) as server:
            execute(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
        yield folder


@pytest.fixture
def home(empty: Path, initialised: Path) -> Path:
    """A home that was in use before and holds table `kept`."""
    subprocess.run(["cp", "-a", f"{initialised}/.", str(empty)], check=True)
    return empty


def execute(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone() if cursor.description else None


def servers_on(home: Path) -> set[int]:
    return _servers_on(home / "postgres", home / "postgres" / "postmaster.pid")


def wait_for_end(pid: int) -> None:
    """Until the process has ended; at most 20 s."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([handle], [], [], 20)
    os.close(handle)
    assert ended, f"process {pid} still runs"


@pytest.mark.parametrize("chosen", [None, DEBIAN], ids=["wheel", "debian-15"])
def test_data_outlive_a_restart(empty: Path, chosen: Path | None) -> None:
    if chosen and not chosen.exists():
        pytest.skip(f"{chosen} is not installed")
    with EmbeddedPostgres(empty, chosen) as server:
        execute(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
        first = server.pid
    assert servers_on(empty) == set()
    with EmbeddedPostgres(empty, chosen) as server:
        assert execute(server.url, "SELECT n FROM kept") == (7,)
        assert server.pid != first
        settings = "SELECT current_setting('server_version_num')::int / 10000, current_setting('data_checksums')"
        assert execute(server.url, settings) == (15 if chosen else 18, "on")


def test_it_is_private(home: Path) -> None:
    """No TCP, a socket for one user, and a role that may not read files or run programs."""
    with EmbeddedPostgres(home) as server:
        assert execute(server.url, "SHOW listen_addresses") == ("",)
        assert execute(server.url, "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user") == (
            "rankloop",
            False,
        )
        for folder in (home / "postgres", home / "sockets"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.stat().st_uid == server_account().uid


@needs_root
def test_other_users_of_the_machine_stay_out(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        stranger = Account("a stranger", 54321, 54321)
        psql = programs.find_programs(stranger)["psql"]
        query = [psql, "-h", str(home / "sockets"), "-U", "rankloop", "-c", "SELECT 1", "rankloop"]
        assert "Permission denied" in stranger.run(query, cwd="/").stderr
        (home / "sockets").chmod(0o755)  # even past the folder, Postgres asks who it is
        os.chmod(home / "sockets" / ".s.PGSQL.5432", 0o777)
        assert "Peer authentication failed" in stranger.run(query, cwd="/").stderr
        assert server.running


@needs_linux
def test_a_killed_owner_takes_its_server_along(home: Path) -> None:
    owner, server_pid = start_owner(home)
    assert server_pid in servers_on(home)
    owner.kill()
    owner.communicate()
    wait_for_end(server_pid)
    assert servers_on(home) == set()


def test_one_owner_at_a_time(home: Path) -> None:
    owner, server_pid = start_owner(home)
    with pytest.raises(EmbeddedPostgresError, match=f"is in use by process {owner.pid} "):
        EmbeddedPostgres(home).start()
    owner.kill()
    owner.communicate()
    with EmbeddedPostgres(home) as server:  # at once, while the old server may still be ending
        assert execute(server.url, "SELECT n FROM kept") == (7,)
        assert server_pid not in servers_on(home)


def start_owner(home: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Another process that runs the server until it is killed, and the server's process id."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


@needs_linux
def test_a_server_lives_longer_than_the_thread_that_started_it(home: Path) -> None:
    server = EmbeddedPostgres(home)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert server._process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        server._process.wait(0.5)
    assert execute(server.url, "SELECT 1") == (1,)
    server.stop()


@needs_linux
def test_a_killed_server_starts_again_though_a_backend_clings_to_its_memory(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        busy = psycopg.connect(server.url)
        backend = busy.info.backend_pid
        thread = threading.Thread(target=run_to_the_end, args=(busy,))
        thread.start()
        while execute(server.url, f"SELECT state FROM pg_stat_activity WHERE pid = {backend}") != ("active",):
            pass
        os.kill(server.pid, signal.SIGKILL)
        assert server._process is not None
        server._process.wait()
        assert not server.running
        assert backend in servers_on(home)  # an orphan at work
        assert execute(server.start(), "SELECT n FROM kept") == (7,)
        assert backend not in servers_on(home)
        thread.join()


def run_to_the_end(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")


def test_a_lock_file_with_a_process_id_that_is_now_somebody_elses(home: Path) -> None:
    lock = home / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getppid()}\n{home}/postgres\n1\n5432\n{home}/sockets\n\n0 0\nready\n")
    shutil.chown(lock, server_account().uid)
    with EmbeddedPostgres(home) as server:
        assert execute(server.url, "SELECT 1") == (1,)


def test_a_killed_initdb_is_begun_anew(empty: Path) -> None:
    (empty / "postgres.new").mkdir()
    (empty / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(empty) as server:
        assert execute(server.url, "SELECT 1") == (1,)
    assert not (empty / "postgres.new").exists()


def test_the_home_may_be_moved(home: Path) -> None:
    """`home` is a copy, so it already has."""
    assert '{"data": "postgres"}' in (home / "postgres.json").read_text()
    with EmbeddedPostgres(home) as server:
        assert execute(server.url, "SELECT n FROM kept") == (7,)


def test_a_path_too_long_for_a_socket(empty: Path) -> None:
    deep = empty / ("d" * 60) / ("e" * 60)
    with EmbeddedPostgres(deep) as server:
        assert execute(server.url, "SELECT 1") == (1,)
        sockets = server._places.sockets
        assert (sockets.parent, stat.S_IMODE(sockets.stat().st_mode)) == (Path("/tmp"), 0o700)
    assert not sockets.exists()


@needs_root
def test_a_home_that_the_servers_user_cannot_reach(tmp_path: Path) -> None:
    """As in a home inside root's own: the data go elsewhere and no folder's rights change."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    try:
        for expected in (None, (7,)):
            with EmbeddedPostgres(closed / "home") as server:
                data = server._places.data
                assert data.is_relative_to(places.SHARED)
                if expected is None:
                    execute(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
                assert execute(server.url, "SELECT n FROM kept") == (7,)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert str(data) in (closed / "home" / "postgres.json").read_text()
    finally:
        shutil.rmtree(data.parent)
    with pytest.raises(EmbeddedPostgresError, match=r"postgres\.json says that the data are at .*, which is gone"):
        EmbeddedPostgres(closed / "home").start()


@needs_root
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a virtual environment inside root's own home."""
    wheel = programs.find_programs(server_account()).folder.parents[1]
    monkeypatch.setattr(programs, "SHARED", home)
    (tmp_path / wheel.name).mkdir()
    (tmp_path / wheel.name / "pginstall18").symlink_to(wheel / "pginstall18")
    (tmp_path / f"{wheel.name}.libs").symlink_to(wheel.with_name(f"{wheel.name}.libs"))
    hidden = tmp_path / wheel.name / "pginstall18" / "bin"
    found = programs.find_programs(server_account(), hidden)
    assert found.folder.is_relative_to(home)
    with EmbeddedPostgres(home, hidden) as server:
        assert execute(server.url, "SELECT 1") == (1,)
    assert [p.name for p in home.glob("programs-*")] == [found.folder.parents[2].name]


def test_what_is_wrong_is_said_in_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_POSTGRES_BIN", str(home))
    with pytest.raises(EmbeddedPostgresError, match=rf"Postgres 15 or newer was not found; looked at: {home} \(no "):
        EmbeddedPostgres(home / "a").start()
    monkeypatch.delenv("RANKLOOP_POSTGRES_BIN")
    (home / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match=r"ended at its start.*unrecognized configuration parameter"):
        EmbeddedPostgres(home).start()
    (home / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match="Postgres 12, which made the data, was not found"):
        EmbeddedPostgres(home).start()


def test_a_failed_start_gives_the_home_back(empty: Path) -> None:
    broken = EmbeddedPostgres(empty, empty)
    with pytest.raises(EmbeddedPostgresError):
        broken.start()
    with EmbeddedPostgres(empty) as server:
        assert server.running
