"""A command `docker` for the lines of docs/deploy.md: it asks the test's stack to do what it says.

The lines run in a real shell, so that pipes and redirections are what they are for people. What the stack does not
know of docker's commands is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.compose.stack import Stack

BLOCK = re.compile(r"```sh (?P<name>\S+)\n(?P<lines>.*?)```", re.S)
CLIENT = """#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({path!r})
    asked = json.dumps([sys.argv[1:], {{"COMPOSE_PROJECT_NAME": os.environ.get("COMPOSE_PROJECT_NAME", "")}}])
    socket.send_fds(line, [asked.encode()], [0, 1, 2])
    sys.exit(int(line.recv(16) or b"125"))
"""


def blocks(document: Path) -> dict[str, str]:
    """The named blocks of shell lines in a document."""
    return {found["name"]: found["lines"] for found in BLOCK.finditer(document.read_text())}


class Docker:
    """`with Docker(stack) as docker: docker.shell(lines)`"""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.folder = stack.folder / "docker"

    def __enter__(self) -> Docker:
        self.folder.mkdir()
        path = str(self.folder / "socket")
        program = self.folder / "docker"
        program.write_text(CLIENT.format(python=sys.executable, path=path))
        program.chmod(0o755)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def shell(self, lines: str, **variables: str) -> str:
        """What the lines print; AssertionError with their errors if one fails."""
        given = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": str(self.stack.project), **variables}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=self.stack.project, env=given, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{lines}\nended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    # ------------------------------------------------------------ the other end

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            asked, streams, _, _ = socket.recv_fds(line, 2**16, 3)
            arguments, environment = json.loads(asked)
            try:
                code = self._do(arguments, environment, *streams)
            except (AssertionError, ValueError, FileNotFoundError) as error:
                os.write(streams[2], f"docker: {error}\n".encode())
                code = 125
            finally:
                for stream in streams:
                    os.close(stream)
            line.send(str(code).encode())

    def _do(self, arguments: list[str], environment: dict[str, str], given: int, output: int, errors: int) -> int:
        if arguments[:3] == ["network", "inspect", f"{self.stack.name}_default"]:
            os.write(output, b"172.30.77.1\n")
            return 0
        asked = _parser().parse_args(arguments)
        self.stack.read()
        self.stack.choose(environment["COMPOSE_PROJECT_NAME"], tuple(asked.profile))
        return int(getattr(self, f"_{asked.verb}")(asked, given, output) or 0)

    def _up(self, asked: argparse.Namespace, *_: int) -> None:
        self.stack.up(*asked.services, healthy=False, recreate=True)

    def _build(self, *_: Any) -> None:
        self.stack.build()

    def _down(self, *_: Any) -> None:
        self.stack.down()

    def _stop(self, asked: argparse.Namespace, *_: int) -> None:
        self.stack.stop(*asked.services)

    def _logs(self, asked: argparse.Namespace, _: int, output: int) -> None:
        for name in asked.services:
            os.write(output, self.stack.log(name).read_bytes())

    def _run(self, asked: argparse.Namespace, given: int, output: int) -> int:
        self.stack.up(*self.stack.compose.services[asked.service].depends_on)
        return self.stack.run(asked.service, asked.line, stdin=given, stdout=output)

    def _exec(self, asked: argparse.Namespace, given: int, output: int) -> int:
        box = self.stack.containers[asked.service].box
        assert box, f"{asked.service} does not run"
        return box.execute(asked.line, 600, stdin=given, stdout=output).returncode


def _parser() -> argparse.ArgumentParser:
    """`docker compose ...`, as far as the stack does it."""
    parser = argparse.ArgumentParser(prog="docker", exit_on_error=False)
    compose = parser.add_subparsers(required=True).add_parser("compose")
    compose.add_argument("--profile", action="append", default=[])
    verbs = compose.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up")
    up.add_argument("-d", action="store_true", required=True)
    up.add_argument("--remove-orphans", action="store_true")
    verbs.add_parser("build")
    verbs.add_parser("down")
    for name in ("up", "stop", "logs"):
        verb = up if name == "up" else verbs.add_parser(name)
        verb.add_argument("services", nargs="*")
    for name in ("run", "exec"):
        verb = verbs.add_parser(name)
        verb.add_argument("-T", action="store_true", required=True)
        if name == "run":
            verb.add_argument("--rm", action="store_true", required=True)
        verb.add_argument("service")
        verb.add_argument("line", nargs=argparse.REMAINDER)
    return parser
