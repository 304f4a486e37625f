"""One container: a service's process in mount, pid, network, uts and ipc namespaces of its own."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.compose.boxes.host import Group, Process, ending_with_us, text_of
from tests.compose.boxes.image import STAND_INS, Image, python, system_binds, system_links
from tests.compose.boxes.network import Network
from tests.compose.spec import Service

INSIDE = Path(__file__).with_name("inside.py")
INIT = "/dev/init.py"
ROOTS_HOME = pwd.getpwuid(0).pw_dir
# What Docker leaves to a container that drops nothing.
DOCKERS = (
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
)


@dataclass(frozen=True)
class Place:
    """Where a container belongs: its stack's folder, its name there, what is mounted."""

    folder: Path
    name: str
    binds: list[tuple[str, str, bool]]
    hosts: Path


class Box:
    """A running container. `command` replaces the service's own; `output` takes what it says."""

    def __init__(
        self,
        service: Service,
        image: Image,
        place: Place,
        group: Group,
        network: Network,
        *,
        output: IO[bytes] | int,
        errors: IO[bytes] | int | None = None,
        sharing: Box | None = None,
        shm: Path | None = None,
        command: list[str] | None = None,
        stdin: IO[bytes] | int | None = None,
    ) -> None:
        self.service, self.image, self.place, self.group, self._network = service, image, place, group, network
        given = (
            os.dup(stdin if isinstance(stdin, int) else stdin.fileno()) if stdin else os.open(os.devnull, os.O_RDONLY)
        )
        plan = place.folder / f"{place.name}.json"
        plan.write_text(json.dumps(self._plan(command, shm) | {"input": given}))
        self._outer = self._start(plan, given, sharing, stdout=output, stderr=errors or output)
        os.close(given)
        self.pid = int(text_of(self._first_child, f"the first process of {place.name}"))
        self.address = sharing.address if sharing else network.join(place.name, self.pid)
        assert self._outer.stdin
        self._outer.stdin.write(b"go\n")
        self._outer.stdin.close()
        self.started = time.monotonic()

    def _start(self, plan: Path, given: int, sharing: Box | None, **streams: Any) -> Process:
        alone = ["--mount", "--pid", "--uts", "--ipc", *([] if sharing else ["--net"])]
        joined = ["nsenter", "-t", str(sharing.pid), "-n", "-i"] if sharing else []
        command = [*joined, "unshare", *alone, "--fork", "--kill-child=SIGKILL", sys.executable, "-S", str(INSIDE)]
        return ending_with_us([*command, str(plan)], self.group, stdin=subprocess.PIPE, pass_fds=(given,), **streams)

    def _first_child(self) -> str:
        if self._outer.poll() is not None:
            raise AssertionError(f"{self.place.name} did not begin: {self._outer.returncode}")
        try:
            outer = self._outer.pid
            return Path(f"/proc/{outer}/task/{outer}/children").read_text().strip()
        except FileNotFoundError:
            return ""

    # ------------------------------------------------------------ what it is

    def _plan(self, command: list[str] | None, shm: Path | None) -> dict[str, Any]:
        service, image = self.service, self.image
        line = command or service.command or image.command
        init = [python(), "-S", INIT] if service.init else []
        root = self.place.folder / "root"
        root.mkdir(exist_ok=True)
        return {
            "root": str(root),
            "hostname": self.place.name,
            "links": system_links(),
            "files": self._files(),
            "folders": image.folders,
            "tmpfs": {entry.partition(":")[0]: entry.partition(":")[2] for entry in service.tmpfs},
            "shm": {"shared": str(shm)} if shm else {"size": service.shm_size},
            "binds": [*system_binds(), *image.binds, *self._harness(), *self.place.binds],
            "read_only": service.read_only,
            "workdir": image.workdir,
            "setpriv": self._setpriv(),
            "command": [*init, *line],
            "environment": self.environment,
        }

    def _harness(self) -> list[tuple[str, str, bool]]:
        return [
            (str(self.place.hosts), "/etc/hosts", False),
            *([(str(STAND_INS / "init.py"), INIT, False)] if self.service.init else []),
        ]

    def _files(self) -> dict[str, str]:
        people = {"root": (0, ROOTS_HOME), **self.image.people}
        passwd = [f"{name}:x:{number}:{number}::{home}:/bin/sh" for name, (number, home) in people.items()]
        return {
            "/etc/passwd": "\n".join(passwd) + "\n",
            "/etc/group": "\n".join(f"{name}:x:{number}:" for name, (number, _) in people.items()) + "\n",
            "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            "/etc/hostname": f"{self.place.name}\n",
        }

    @property
    def environment(self) -> dict[str, str]:
        home = next((home for number, home in self.image.people.values() if number == self.image.user), ROOTS_HOME)
        told = {"PATH": "/usr/bin:/bin", "HOME": home, "HOSTNAME": self.place.name}
        gpus = {"RAY_OVERRIDE_RESOURCES": '{"GPU": 2}'} if self.service.gpus else {}
        return told | self.image.environment | self.service.environment | gpus

    def _setpriv(self) -> list[str]:
        user = str(self.image.user)
        kept = [] if self.service.cap_drop else [f"+{name}" for name in DOCKERS]
        return [
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"),
            f"--bounding-set={','.join(['-all', *kept])}",
            *(["--no-new-privs"] if self.service.security_opt else []),
            "--",
        ]

    # ------------------------------------------------------------ what is done to it

    def poll(self) -> int | None:
        """Its exit code once it has ended, as a shell tells it."""
        code = self._outer.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, seconds: float) -> int:
        self._outer.wait(seconds)
        code = self.poll()
        assert code is not None
        return code

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """As `docker stop`: its signal, its grace, and SIGKILL."""
        self.signal(self.image.stop_signal)
        try:
            self._outer.wait(self.service.stop_grace_period)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self._outer.poll() is None:
            self.signal(signal.SIGKILL)
            self._outer.wait()

    def gone(self) -> None:
        """After its end, whatever ended it."""
        self._network.leave(self.place.name)

    def execute(self, command: list[str], seconds: float = 60.0, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Another process inside, as `docker exec`. Raises TimeoutExpired."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n"]
        clean = [
            "env",
            "-i",
            "-C",
            self.image.workdir,
            *(f"{name}={value}" for name, value in self.environment.items()),
        ]
        process = ending_with_us([*enter, *clean, *self._setpriv(), *command], self.group, **options)
        try:
            said, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(command, process.returncode, said, errors)
