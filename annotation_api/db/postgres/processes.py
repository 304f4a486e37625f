"""Server processes: starting one that ends with us, and ending those that an earlier owner left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from annotation_api.db.postgres.account import Account, EmbeddedPostgresError

STOP_SECONDS = 30
WRAPPER = Path(__file__).with_name("postmaster.py")


def spawn(command: list[str], account: Account, log: int, cwd: Path) -> subprocess.Popen[bytes]:
    """Start `command` as `account`, so that it ends when this process does.

    Linux signals the child at the death of the *thread* that started it, so that is a thread which
    lives as long as the child. A session of its own keeps Ctrl-C at a terminal away from the server:
    its owner stops it last.
    """
    wrapped = [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), str(account.uid), str(account.gid), *command]
    begun: list[subprocess.Popen[bytes] | OSError] = []
    ready = threading.Event()

    def keep() -> None:
        try:
            environment = {"PATH": os.defpath, "LC_ALL": "C"}
            child = subprocess.Popen(
                wrapped, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            begun.append(error)
            ready.set()
            return
        begun.append(child)
        ready.set()
        child.wait()

    threading.Thread(target=keep, name="postgres-keeper", daemon=True).start()
    ready.wait()
    if isinstance(begun[0], OSError):
        raise begun[0]
    return begun[0]


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server: fast shutdown, then an immediate one, then SIGKILL."""
    for how in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return
    process.kill()
    process.wait()


def clear_remains(data: Path) -> None:
    """End the server that a killed owner left on `data`, and the backends that a killed server left.

    Only the owner calls this, so nobody else can be using the data. Afterwards a lock file of
    the dead server is removed: its process id may by now be somebody else's.
    """
    deadline = time.monotonic() + STOP_SECONDS
    lock = data / "postmaster.pid"
    while remains := _servers_on(data, lock):
        first = _recorded_pid(lock)
        for pid in [first] if first in remains else remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if pid == first else signal.SIGQUIT)
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"Processes {sorted(remains)} still use {data}; end them, then start again.")
        time.sleep(0.05)
    lock.unlink(missing_ok=True)


def _recorded_pid(lock: Path) -> int | None:
    try:
        return int(lock.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _servers_on(data: Path, lock: Path) -> set[int]:
    """Postgres processes at work on `data`: each has it as its working directory.

    Without /proc (macOS) only the recorded first process can be found, by its command line.
    """
    if Path("/proc/self/cwd").exists():
        return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_server_on(data, p)}
    pid = _recorded_pid(lock)
    said = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return {pid} if pid and str(data) in said.stdout else set()


def _is_server_on(data: Path, process: Path) -> bool:
    try:
        return os.readlink(process / "cwd") == str(data) and Path(os.readlink(process / "exe")).name == "postgres"
    except OSError:  # it ended meanwhile, or is another user's
        return False
