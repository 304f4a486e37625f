"""What the harness asks of the machine: namespaces, control groups, and processes that end with the test."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Process = subprocess.Popen[bytes]
GROUPS = Path("/sys/fs/cgroup")
NEEDED = ("unshare", "nsenter", "setpriv", "ip")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def lacking() -> str | None:
    """Why containers cannot be made here; None where they can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root makes namespaces"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"{', '.join(missing)} are not installed"
    tried = subprocess.run(["unshare", "-m", "-p", "-u", "-i", "-n", "-f", "true"], capture_output=True, text=True)
    return f"namespaces are forbidden here: {tried.stderr.strip()}" if tried.returncode else None


def ending_with_us(command: list[str], group: Group | None = None, **options: Any) -> Process:
    """A process that is killed when this thread ends, however it ends."""

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if group:
            group.enter()

    return subprocess.Popen(command, preexec_fn=prepare, start_new_session=True, **options)


def text_of(question: Callable[[], str], what: str, seconds: float = 30.0) -> str:
    """Ask until the answer is not empty."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


class Group:
    """A control group, of either version: what a container uses and may use."""

    def __init__(self, name: str) -> None:
        self.second = (GROUPS / "cgroup.controllers").exists()
        kinds = ("",) if self.second else ("memory", "cpuacct")
        self.folders = {kind: GROUPS / kind / name for kind in kinds}
        for folder in self.folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            if self.second:
                (folder.parent / "cgroup.subtree_control").write_text("+memory +cpu")

    def limit(self, memory: int) -> None:
        name = "memory.max" if self.second else "memory.limit_in_bytes"
        (self._of("memory") / name).write_text(str(memory))

    def enter(self) -> None:
        """The calling process, and what it will start."""
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak(self) -> int:
        """The most memory that it ever had, in bytes; its files in memory and cached ones count."""
        return int((self._of("memory") / ("memory.peak" if self.second else "memory.max_usage_in_bytes")).read_text())

    @property
    def cpu_seconds(self) -> float:
        if self.second:
            found = (self._of("") / "cpu.stat").read_text().split()
            return int(found[found.index("usage_usec") + 1]) / 1e6
        return int((self._of("cpuacct") / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        for folder in self.folders.values():
            text_of(lambda folder=folder: _removed(folder), f"{folder} to be empty")  # type: ignore[misc]

    def _of(self, kind: str) -> Path:
        return self.folders["" if self.second else kind]


def _removed(folder: Path) -> str:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return "gone"
    except OSError:  # its last process is still being buried
        return ""
    return "gone"
