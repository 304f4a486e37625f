"""A project's services, started, watched and stopped as `docker compose` does it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from tests.compose.boxes import image
from tests.compose.boxes.box import Box, Place
from tests.compose.boxes.host import Group, Process
from tests.compose.boxes.image import Image
from tests.compose.boxes.network import Network
from tests.compose.spec import Check, Compose, Service, dotenv, read_compose

BACKOFF, LONGEST = 0.1, 60.0  # seconds until a service that ended is started again, doubled each time
SETTLED = 10.0  # one that lived so long begins with BACKOFF again
UP_SECONDS = 240.0


class Container:
    """A service's container, over all its restarts."""

    def __init__(self, stack: Stack, name: str, service: Service) -> None:
        self.stack, self.name, self.service = stack, name, service
        self.image = stack.image_of(service)
        self.box: Box | None = None
        self.code: int | None = None
        self.healthy: bool | None = None
        self.broken: Exception | None = None
        self.restarts = 0
        self.checks: list[str] = []  # what the last ones said
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and self.box is not None

    def start(self) -> None:
        if self._thread and self._thread.is_alive():
            return
        self._stopping.clear()
        self._begun.clear()
        self.code = self.healthy = None
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()
        self._begun.wait(30)

    def stop(self) -> float:
        """As `docker compose stop`; the seconds that it took."""
        asked = time.monotonic()
        self._stopping.set()
        if self.box:
            self.box.stop()
        if self._thread:
            self._thread.join()
        return time.monotonic() - asked

    def cut(self) -> None:
        """As when its machine loses power: all of it at once, and nothing starts it again."""
        self._stopping.set()
        if self.box:
            self.box.kill()
        if self._thread:
            self._thread.join()

    def _live(self) -> None:
        """Start it, watch it, and start it again as its restart policy says."""
        wait = BACKOFF
        while True:
            try:
                self._run_once()
            except Exception as error:
                self.broken = error
                raise
            if self._stopping.is_set() or self.service.restart == "no":
                return
            self.restarts += 1
            wait = BACKOFF if self._lived > SETTLED else min(wait * 2, LONGEST)
            if self._stopping.wait(wait):
                return

    def _run_once(self) -> None:
        with ExitStack() as undo:
            log = undo.enter_context(self.stack.log(self.name).open("ab"))
            box = self.box = self.stack.box(self.name, self.service, output=log)
            undo.callback(box.gone)
            for process in self.stack.publish(self.service, box):
                undo.callback(process.wait)
                undo.callback(process.kill)
            self.healthy = None
            self._begun.set()
            self._watch(box)
            self.code, self.box = box.poll(), None
            self._lived = time.monotonic() - box.started

    def _watch(self, box: Box) -> None:
        """Until it ends; with its health checks."""
        check, failures, due = self.service.healthcheck, 0, 0.0
        while box.poll() is None:
            if check and time.monotonic() >= due:
                fine = self._check(box, check)
                starting = self.healthy is None and time.monotonic() - box.started < check.start_period
                failures = 0 if fine else failures + (not starting)
                self.healthy = True if fine else False if failures >= check.retries else self.healthy
                due = time.monotonic() + (check.start_interval if starting and not fine else check.interval)
            time.sleep(0.05)

    def _check(self, box: Box, check: Check) -> bool:
        try:
            done = box.execute(check.command, check.timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            self.checks = [*self.checks, "timed out"][-5:]
            return False
        self.checks = [*self.checks, (done.stdout or b"").decode(errors="replace")][-5:]
        return done.returncode == 0


class Stack:
    """`with Stack(project) as stack:` The project's folder holds docker-compose.yml, Dockerfile, deploy and secrets."""

    def __init__(
        self, project: Path, environment: Mapping[str, str] | None = None, profiles: tuple[str, ...] = ()
    ) -> None:
        self.project, self.profiles, self.given = project, profiles, dict(environment or {})
        self.id = f"rankloop-{uuid.uuid4().hex[:8]}"
        self.folder = Path(tempfile.mkdtemp(prefix="rankloop-stack-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.containers: dict[str, Container] = {}
        self._listeners: dict[tuple[str, str], socket.socket] = {}
        self._groups: list[Group] = []
        self._runs = 0

    def __enter__(self) -> Stack:
        for name in ("volumes", "logs", "shm", "boxes", "image"):
            (self.folder / name).mkdir()
        hosts = self.folder / "hosts"
        hosts.touch()
        self.network = Network(hosts)
        self.read()
        self.build()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self.network.close()
        for group in self._groups:
            group.remove()
        for listener in self._listeners.values():
            listener.close()
        for folder in (self.folder, Path("/dev/shm") / self.id):
            if folder.exists():
                shutil.rmtree(folder)

    def read(self) -> None:
        """Read the project's compose file, as it is now."""
        self.compose: Compose = read_compose(self.project / "docker-compose.yml", self.given)
        self.name = self.compose.name

    def build(self) -> None:
        """Build the project's image, and the stand-ins for the others."""
        built = self.folder / "image" / uuid.uuid4().hex[:8]
        self.images: dict[str, Image] = {
            "rankloop": image.build(self.project, built),
            "postgres": image.postgres(),
            "prom/prometheus": image.prometheus(),
        }

    # ------------------------------------------------------------ verbs of docker compose

    def choose(self, name: str, profiles: tuple[str, ...] = ()) -> None:
        """The project's name, to which its volumes belong, and the profiles that are enabled."""
        named = name or dotenv(self.project / ".env").get("COMPOSE_PROJECT_NAME", "")
        self.name, self.profiles = named or self.compose.name, profiles or self.profiles
        assert not self.containers or self.name == self._name_of_containers, f"down first: {[*self.containers]} run"

    def up(self, *names: str, healthy: bool = True, recreate: bool = False) -> None:
        """Start what does not run, each after what it needs; with `healthy`, wait until all of it is well.

        `recreate` replaces containers whose service or image is another one by now, and ends orphans.
        """
        if recreate:
            self._drop_changed()
        self._name_of_containers = self.name
        for name in self._in_order(names):
            service = self.compose.services[name]
            for needed, how in service.depends_on.items():
                self._wait(needed, how.condition)
            self.containers.setdefault(name, Container(self, name, service)).start()
        if healthy:
            self.settle(*names)

    def settle(self, *names: str) -> None:
        """Wait until what was started is well."""
        for name in self._in_order(names):
            self._wait(name, "service_healthy" if self.compose.services[name].healthcheck else "service_started")

    def stop(self, *names: str) -> dict[str, float]:
        """Stop these, or all; the seconds that each took."""
        known = [name for name in reversed(self._in_order(())) if name in self.containers]
        return {name: self.containers[name].stop() for name in known if not names or name in names}

    def restart(self, name: str) -> float:
        took = self.containers[name].stop()
        self.containers[name].start()
        service = self.compose.services[name]
        self._wait(name, "service_healthy" if service.healthcheck else "service_started")
        return took

    def down(self) -> dict[str, float]:
        took = self.stop()
        self.containers.clear()
        return took

    def run(
        self, name: str, command: list[str], stdin: IO[bytes] | int | None = None, stdout: IO[bytes] | int | None = None
    ) -> int:
        """`docker compose run --rm -T`: the service's container with another command; its exit code."""
        self._runs += 1
        with self.log(f"{name}-run").open("ab") as log:
            box = self.box(
                name,
                self.compose.services[name],
                output=stdout or log,
                errors=log,
                command=command,
                stdin=stdin,
                run=self._runs,
            )
            try:
                return box.wait(UP_SECONDS)
            finally:
                box.kill()
                box.gone()

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def url(self, name: str, port: str) -> str:
        host, number = self._listeners[name, port].getsockname()
        return f"http://{host}:{number}"

    # ------------------------------------------------------------ parts of a container

    def box(self, name: str, service: Service, *, output: IO[bytes] | int, run: int = 0, **options: object) -> Box:
        full = f"{name}-run-{run}" if run else name
        folder = self.folder / "boxes" / full
        folder.mkdir(exist_ok=True)
        place = Place(folder, full, self._binds(service), self.folder / "hosts")
        shared = self.containers[service.network_of].box if service.network_of else None
        return Box(
            service,
            self.image_of(service),
            place,
            self.group(full, service),
            self.network,
            output=output,
            sharing=shared,
            shm=self._shm(name, service),
            **options,  # type: ignore[arg-type]
        )

    def group(self, name: str, service: Service | None = None) -> Group:
        """The control group of a container, over all its restarts."""
        group = Group(f"{self.id}-{name}")
        if service:
            self._groups.append(group)
            if service.mem_limit:
                group.limit(service.mem_limit)
        return group

    def publish(self, service: Service, box: Box) -> Iterator[Process]:
        for entry in service.ports:
            host, _, port = entry.split(":")
            key = (box.place.name, port)
            if key not in self._listeners:
                self._listeners[key] = socket.create_server((host, 0), backlog=1024)
            yield self.network.publish(self._listeners[key], box.address, int(port))

    def image_of(self, service: Service) -> Image:
        return self.images[service.image.partition(":")[0]]

    def _shm(self, name: str, service: Service) -> Path | None:
        if service.ipc is None:
            return None
        folder = Path("/dev/shm") / self.id / (service.shm_of or name)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
        return folder

    def _binds(self, service: Service) -> list[tuple[str, str, bool]]:
        return [
            *(
                (str(self._volume(entry, service)), entry.split(":")[1], not entry.endswith(":ro"))
                for entry in service.volumes
            ),
            *((self._source("secrets", name), f"/run/secrets/{name}", False) for name in service.secrets),
            *((self._source("configs", used.source), used.target, False) for used in service.configs),
        ]

    def _volume(self, entry: str, service: Service) -> Path:
        """A named volume; a new one belongs to whom the image gives its place to."""
        name, target = entry.split(":")[:2]
        if name not in self.compose.volumes:
            raise ValueError(f"{entry}: only named volumes are carried out")
        folder = self.volume(name)
        if not folder.exists():
            folder.mkdir(parents=True)
            owner = self.image_of(service).folders.get(target, 0)
            os.chown(folder, owner, owner)
        return folder

    def _source(self, kind: str, name: str) -> str:
        source = (self.compose.secrets if kind == "secrets" else self.compose.configs)[name]
        if source.content is None:
            assert source.file
            found = self.project / source.file
            if not found.is_file():
                raise FileNotFoundError(f"{kind} {name}: {found} is no file")
            return str(found)
        written = self.folder / f"{kind}-{name}"
        written.write_text(source.content)
        return str(written)

    def _drop_changed(self) -> None:
        for name, container in [*self.containers.items()]:
            now = self.compose.services.get(name)
            if now != container.service or self.image_of(now) != container.image:
                container.stop()
                del self.containers[name]

    # ------------------------------------------------------------ what waits for what

    def _in_order(self, names: tuple[str, ...]) -> list[str]:
        """The services that are enabled, or those named and what they need; the needed first."""
        services = self.compose.services
        enabled = [name for name, one in services.items() if not one.profiles or set(one.profiles) & set(self.profiles)]
        order: list[str] = []

        def visit(name: str) -> None:
            needed = [*services[name].depends_on, *filter(None, [services[name].network_of])]
            for other in needed:
                visit(other)
            if name not in order:
                order.append(name)

        for name in names or enabled:
            visit(name)
        return order

    def _wait(self, name: str, condition: str) -> None:
        container, deadline = self.containers[name], time.monotonic() + UP_SECONDS
        before = container.restarts
        while time.monotonic() < deadline:
            if condition == "service_completed_successfully":
                if container.code == 0:
                    return
                assert container.code is None, f"{name} ended with {container.code}: {self.said(name)}"
            elif container.healthy or (condition == "service_started" and (container.running or container.code == 0)):
                return
            assert container.broken is None, f"{name} cannot be made: {container.broken}"
            assert container.restarts - before < 4, f"{name} keeps ending: {self.said(name)}"
            assert container.healthy is not False, f"{name} is unhealthy: {container.checks}\n{self.said(name)}"
            time.sleep(0.05)
        raise AssertionError(f"{name} was not {condition} in {UP_SECONDS:.0f} s: {container.checks}\n{self.said(name)}")

    def said(self, name: str, lines: int = 40) -> str:
        """The end of a service's log."""
        path = self.log(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / self.name / name
