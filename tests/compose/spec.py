"""docker-compose.yml and Dockerfile as records. What the harness does not carry out is an error, not ignored."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

SIZE = re.compile(r"(\d+)([kmg]?)b?")
SPAN = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\$)")


def _size(value: Any) -> int:
    found = SIZE.fullmatch(str(value).lower())
    if not found:
        raise ValueError(f"{value!r} is no size")
    return int(found[1]) * 1024 ** " kmg".index(found[2] or " ")


def _seconds(value: Any) -> float:
    found = SPAN.fullmatch(str(value))
    if not found or not value:
        raise ValueError(f"{value!r} is no time")
    return int(found[1] or 0) * 60.0 + int(found[2] or 0)


Size = Annotated[int, BeforeValidator(_size)]
Seconds = Annotated[float, BeforeValidator(_seconds)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(Strict):
    test: list[str]
    interval: Seconds = 30.0
    timeout: Seconds = 30.0
    retries: int = 3
    start_period: Seconds = 0.0
    start_interval: Seconds = 5.0

    @property
    def command(self) -> list[str]:
        kind, *rest = self.test
        if kind == "CMD":
            return rest
        if kind == "CMD-SHELL" and len(rest) == 1:
            return ["/bin/sh", "-c", *rest]
        raise ValueError(f"a health check that begins with {kind}")


class Needs(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Mounted(Strict):
    source: str
    target: str


class Logging(Strict):
    driver: Literal["local", "json-file"]
    options: dict[Literal["max-size", "max-file"], str]


class Device(Strict):
    driver: Literal["nvidia"]
    count: Literal["all"] | int
    capabilities: list[Literal["gpu"]]


class Reservations(Strict):
    devices: tuple[Device, ...]


class Resources(Strict):
    reservations: Reservations


class Deploy(Strict):
    resources: Resources


class Service(Strict):
    """One service. Defaults are Docker's."""

    image: str
    build: Literal["."] | None = None
    command: list[str] | None = None
    init: bool = False
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    shm_size: Size = 64 * 2**20
    mem_limit: Size | None = None
    cap_drop: tuple[Literal["ALL"], ...] = ()
    security_opt: tuple[Literal["no-new-privileges:true"], ...] = ()
    restart: Literal["no", "unless-stopped"] = "no"
    stop_grace_period: Seconds = 10.0
    environment: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    configs: tuple[Mounted, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    depends_on: dict[str, Needs] = {}
    healthcheck: Check | None = None
    profiles: tuple[str, ...] = ()
    logging: Logging | None = None
    deploy: Deploy | None = None
    network_mode: str | None = None
    ipc: str | None = None

    @property
    def network_of(self) -> str | None:
        """The service whose network this one shares."""
        return self.network_mode.removeprefix("service:") if self.network_mode else None

    @property
    def shm_of(self) -> str | None:
        return self.ipc.removeprefix("service:") if self.ipc and self.ipc.startswith("service:") else None

    @property
    def gpus(self) -> bool:
        return self.deploy is not None

    @model_validator(mode="after")
    def _is_carried_out(self) -> Self:
        for shared in (self.network_mode, self.ipc):
            if shared not in (None, "shareable") and not shared.startswith("service:"):
                raise ValueError(f"{shared} is not carried out")
        return self


class FileSource(Strict):
    file: str | None = None
    content: str | None = None


class Compose(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    services: dict[str, Service]
    volumes: dict[str, None] = {}
    secrets: dict[str, FileSource] = {}
    configs: dict[str, FileSource] = {}


def read_compose(path: Path, environment: Mapping[str, str]) -> Compose:
    """The file with its variables filled in, from `environment` and from .env beside it. Raises ValueError."""
    given = dotenv(path.with_name(".env")) | dict(environment)
    raw = yaml.safe_load(path.read_text())
    return Compose.model_validate({name: _filled(value, given) for name, value in raw.items() if name[:2] != "x-"})


def dotenv(path: Path) -> dict[str, str]:
    """The variables of a file .env; none where there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))  # type: ignore[misc]


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, given) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, given) for inner in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda found: "$" if found[3] else given.get(found[1]) or found[2] or "", value)


@dataclass(frozen=True)
class Recipe:
    """What a Dockerfile makes, as far as the harness carries it out."""

    copies: dict[str, str] = field(default_factory=dict)  # of the first stage: from the project's folder
    people: dict[str, int] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)  # path -> owner
    environment: dict[str, str] = field(default_factory=dict)
    user: int = 0
    workdir: str = "/"
    command: tuple[str, ...] = ()


USERADD = re.compile(r"useradd --uid (\d+) --create-home (\w+)")
INSTALL = re.compile(r"install -d -o (\w+)((?: /\S+)+)")


def read_dockerfile(path: Path) -> Recipe:
    """Raises ValueError for what is not carried out. What `pip` installs comes from the test's own environment."""
    made, stage = Recipe(), 0
    for line in re.sub(r"\\\n", " ", path.read_text()).splitlines():
        word, _, rest = line.strip().partition(" ")
        match word:
            case "" | "#":
                continue
            case "FROM":
                stage += 1
            case "COPY" if stage == 1:
                *sources, target = rest.split()
                made.copies.update({source: target if len(sources) == 1 else source for source in sources})
            case "COPY" if rest == "--from=build /opt/rankloop /opt/rankloop":
                continue
            case "RUN" if stage == 1 and re.match(r"(python -m venv|pip install) ", rest):
                continue
            case "RUN" if stage == 2:
                _run(made, rest)
            case "ENV":
                made.environment.update(pair.split("=", 1) for pair in shlex.split(rest))  # type: ignore[arg-type]
            case "USER" if stage == 2:
                made = _with(made, user=int(rest))
            case "WORKDIR":
                made = _with(made, workdir=rest)
            case "CMD":
                made = _with(made, command=tuple(yaml.safe_load(rest)))
            case _:
                raise ValueError(f"The Dockerfile says {line!r}, which the harness does not carry out.")
    return made


def _with(recipe: Recipe, **changes: Any) -> Recipe:
    return Recipe(**{**recipe.__dict__, **changes})


def _run(made: Recipe, commands: str) -> None:
    for command in map(str.strip, commands.split("&&")):
        if person := USERADD.fullmatch(command):
            made.people[person[2]] = int(person[1])
            made.folders[f"/home/{person[2]}"] = person[2]
        elif folders := INSTALL.fullmatch(command):
            made.folders.update(dict.fromkeys(folders[2].split(), folders[1]))
        else:
            raise ValueError(f"The Dockerfile runs {command!r}, which the harness does not carry out.")
