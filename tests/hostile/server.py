"""The server process, and what visitors do to it on bare sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from annotation_api.processes.parts import api_command
from annotation_api.settings import Settings
from tests.journey.desk import HOST, free_port

PATIENCE = 2.0  # RANKLOOP_BODY_SECONDS of this server
START_SECONDS = 600.0  # on a machine that does much else


class Server:
    def __init__(self, database_url: str, home: Path) -> None:
        self.database_url, self.home, self.port = database_url, home, free_port()
        self.uploads = home / "uploads"
        self.uploads.mkdir()

    def __enter__(self) -> Self:
        settings = Settings(database_url=self.database_url, home=self.home, body_seconds=PATIENCE)
        environment = settings.to_environment(os.environ) | {"TMPDIR": str(self.uploads)}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(api_command(HOST, self.port), env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    @property
    def log_file(self) -> Path:
        return self.home / "api.log"

    def log(self) -> str:
        return self.log_file.read_text()

    def metric(self, name: str, key: str) -> float:
        """A counter of /metrics by its whole name, labels and all; 0 if it is not there yet."""
        page = httpx.get(f"http://{HOST}:{self.port}/metrics", headers={"Authorization": f"Bearer {key}"}).text
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{HOST}:{self.port}/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False


@dataclass
class Visitor:
    port: int
    person: uuid.UUID
    key: str
    token: str

    def client(self, timeout: float = 5) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://{HOST}:{self.port}", headers={"Authorization": f"Bearer {self.key}"}, timeout=timeout
        )

    def begin(self, path: str, size: int, kind: str, *more: str) -> socket.socket:
        """A POST of this person's whose headers promise `size` bytes, of which none has come."""
        return begin(self.port, path, size, kind, f"Cookie: rankloop={self.token}", *more)


def begin(port: int, path: str, size: int, kind: str, *more: str) -> socket.socket:
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", f"Content-Type: {kind}", f"Content-Length: {size}", *more]
    return connected(port, "".join(f"{line}\r\n" for line in [*lines, ""]).encode())


def connected(port: int, data: bytes = b"") -> socket.socket:
    line = socket.create_connection((HOST, port), timeout=30)
    line.sendall(data)
    return line


def status_of(line: socket.socket) -> int:
    """Of the answer that comes; 0 for a connection that ends without one."""
    head = b""
    while b"\r\n" not in head:
        piece = line.recv(4096)
        if not piece:
            return 0
        head += piece
    return int(head.split()[1])
