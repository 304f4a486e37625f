"""A Ray head that runs beside a test, and machines that join it; the test may kill each."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import psutil

from tests.support.engine_room import poll
from workers.executors.head import answers

# No process that no test asks for: a worker for each core before one is needed, a copier of logs, a usage report.
LEAN = {"RAY_prestart_worker_first_driver": "0", "RAY_USAGE_STATS_ENABLED": "0"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4a" * 32}


class Machine:
    """A machine of a Ray cluster, started by `with`: a raylet at an address of its own, with GPUs that do not exist.

    `before`: lines for a shell that come first, in a mount namespace of the machine's own; only root can do that.
    """

    def __init__(self, ip: str, gpus: int, token: dict[str, str], joins: list[str], before: str = "") -> None:
        self.ip, self.gpus, self.token, self.before, self._joins = ip, gpus, token, before, joins
        self.folder = Path(tempfile.mkdtemp(prefix="rankloop-ray-", dir="/tmp"))  # short, for its sockets

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        has = ["--num-cpus=4", f"--num-gpus={self.gpus}", f"--temp-dir={self.folder}", f"--node-ip-address={self.ip}"]
        has += ["--include-log-monitor=false"]
        line = [str(Path(sys.executable).with_name("ray")), "start", "--block", *self._joins, *has]
        if self.before:
            line = ["unshare", "--mount", "sh", "-ec", f'{self.before}\nexec "$@"', "sh", *line]
        self.process = subprocess.Popen(
            line,
            env=os.environ | LEAN | self.token,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        """As by `kill -9`, all of it at once."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:
            if process.is_running():
                process.kill()
        self.process.wait()


class Head(Machine):
    """`with Head(gpus=2) as head:` a cluster of one machine at `head.address`, which wants to see a token.

    Ray reads the token when it is imported, so a test that joins the cluster itself does without.
    """

    def __init__(self, gpus: int, token: dict[str, str] = TOKEN) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        lean = ["--include-dashboard=false", "--no-monitor"]
        super().__init__("127.0.0.1", gpus, token, ["--head", f"--port={port}", *lean])

    @property
    def environment(self) -> dict[str, str]:
        """What a dispatcher needs to use it."""
        return self.token | {"RANKLOOP_RAY_ADDRESS": self.address, "RANKLOOP_EXECUTOR": "ray"}

    def start(self) -> None:
        super().start()
        poll(lambda: answers(self.address), "the head to answer")

    def kill(self) -> None:
        """A busy machine lets a killed process listen a little longer."""
        super().kill()
        poll(lambda: not answers(self.address), "the head's port to be closed")

    def machine(self, ip: str, gpus: int, before: str = "") -> Machine:
        """One more, once it is started."""
        return Machine(ip, gpus, self.token, [f"--address={self.address}"], before)
