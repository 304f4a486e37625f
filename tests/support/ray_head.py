"""A Ray head that runs beside a test, and that the test may kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.support.engine_room import poll
from workers.executors.head import answers

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4a" * 32}


class Head:
    """`with Head(gpus=2) as head:` a cluster of one machine at `head.address`, which wants to see a token.

    Ray reads the token when it is imported, so a test that joins the cluster itself does without.
    """

    def __init__(self, gpus: int, token: dict[str, str] = TOKEN) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.gpus, self.token, self.address = gpus, token, f"127.0.0.1:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="rankloop-ray-", dir="/tmp"))  # short, for its sockets

    @property
    def environment(self) -> dict[str, str]:
        """What a dispatcher needs to use it."""
        return self.token | {"RANKLOOP_RAY_ADDRESS": self.address, "RANKLOOP_EXECUTOR": "ray"}

    def __enter__(self) -> Head:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        ray = Path(sys.executable).with_name("ray")
        options = [f"--port={self.address.rpartition(':')[2]}", "--num-cpus=4", f"--num-gpus={self.gpus}"]
        options += [f"--temp-dir={self.folder}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
        self.process = subprocess.Popen(
            [str(ray), "start", "--head", *options, "--block"],
            env=os.environ | self.token,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        poll(lambda: answers(self.address), "the head to answer")

    def kill(self) -> None:
        """As by `kill -9`, all of it at once."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:
            if process.is_running():
                process.kill()
        self.process.wait()
