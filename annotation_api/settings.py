"""What the service is told by its environment. A wrong value ends in one sentence; no secret is printed.

Every `RANKLOOP_X` may also come from a file that `RANKLOOP_X_FILE` names (Docker and Kubernetes secrets).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from alignment.shared.validation import explain

PREFIX = "RANKLOOP_"
RAY_HOST = re.compile(r"[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]")  # a name or an address; IPv6 in brackets


OPENS_THE_SERVICE = ("RANKLOOP_", "PG")  # how the variables begin whose secrets a launcher forgets
MOST_PORT = 65_535
ENDPOINT = re.compile(r"[\w.-]{1,100}=https?://[^\s#?@]+(#[A-Za-z_]\w*)?")


SAMPLE_PASSWORDS = frozenset(
    {
        *("postgres", "postgresql", "rankloop", "admin", "root", "test", "pgpassword"),
        *("password", "passwd", "pass", "secret", "changeme", "change-me", "change_me", "default", "example", "sample"),
        *("1234", "123456", "12345678", "password1234"),
    }
)


class SettingsError(ValueError):
    """A setting cannot be used; the message is one sentence for the person who set it."""


def _split(separator: str) -> BeforeValidator:
    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(separator) if part.strip())

    return BeforeValidator(split)


Names = Annotated[tuple[str, ...], _split(",")]
Folders = Annotated[tuple[Path, ...], _split(os.pathsep)]


def _default_roots(values: dict[str, Any]) -> tuple[Path, ...]:
    return (values["home"] / "models", Path.cwd()) if "home" in values else ()


class Settings(BaseModel):
    """Each field is `RANKLOOP_` and its name in capitals; lists of names use commas, of folders the path separator."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    database_url: str | None = Field(
        default=None, repr=False, description="postgresql://user:password@host:5432/name; unset: the embedded Postgres."
    )
    home: Path = Field(default=Path(".rankloop"), description="Database files, artifacts, models and logs.")
    model_roots: Folders = Field(
        default_factory=_default_roots,
        description="Folders below which models may lie; unset: HOME/models and the working directory.",
    )
    hub_models: Names = Field(
        default=(), description="Hub ids that may be registered as base models, for example Qwen/*; unset: none."
    )
    ray_address: str | None = Field(
        default=None, description="The head of a Ray cluster as host:port, or auto; unset: a local Ray."
    )
    public_url: str | None = Field(default=None, description="Where people reach the service, if not where it listens.")
    allowed_hosts: Names = Field(
        default=(), description="Host names that requests may carry besides this machine's own; *.example.com works."
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, as 10.0.0.0/8; unset: none.",
    )
    published_on_loopback: bool = Field(
        default=False, description="The service listens in a container, and its port is published on loopback only."
    )
    jobs_per_hour: int = Field(default=5000, ge=1, description="Jobs that a person may queue in an hour.")
    uploads_per_hour: int = Field(default=500, ge=1, description="Files that a person may upload in an hour.")
    upload_bytes_per_hour: int = Field(default=50 * 2**30, ge=1, description="Their bytes, together.")
    api_keys_per_hour: int = Field(default=100, ge=1, description="API keys that a person may make in an hour.")
    idle_minutes: int = Field(
        default=720, ge=5, le=7 * 24 * 60, description="A browser that rests for so long is signed out."
    )
    admin_second_factor: bool = Field(
        default=False, description="Admins do an admin's work only once they have set up a second factor."
    )
    max_body_bytes: int = Field(default=4 * 2**20, ge=2**10, description="Largest request, uploads apart.")
    body_seconds: float = Field(
        default=10, ge=1, description="How long a request's body may pause; and what it may take, besides 1 s a 16 KiB."
    )

    log: Literal["json", "text"] | None = Field(
        default=None, description="How processes log; unset: text on a terminal, JSON elsewhere, text for attempts."
    )
    metrics_token: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="A bearer token that may read /metrics, and nothing else; unset: only people's API keys may.",
    )
    teachers: Names = Field(
        default=(),
        description="Endpoints of OpenAI's kind that self-instruct may ask: NAME=URL, or NAME=URL#VARIABLE where that "
        "environment variable of the dispatcher holds the key; unset: none.",
    )
    artifact_days: int | None = Field(
        default=None, ge=1, description="`rankloop prune` removes unused artifacts that are older; unset: none."
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        if value and not value.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
            raise ValueError("it must look like postgresql://user:password@host:5432/name")
        if value and _is_elsewhere(value) and sample_password(value):
            raise ValueError("its password is a sample that anybody would try; give the database another one")
        return value

    @field_validator("ray_address")
    @classmethod
    def _is_ray_head(cls, value: str | None) -> str | None:
        host, _, port = (value or "").rpartition(":")
        if value in (None, "auto") or (value and RAY_HOST.fullmatch(host) and _is_port(port)):
            return value
        raise ValueError(
            f"{value!r} is neither host:port of a cluster's head nor auto; launchers join a cluster beside one of its "
            "machines' own Ray and do not speak ray://"
        )

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must start with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"{text!r} is neither an address nor a network, such as 10.0.0.0/8") from None
        return value

    @field_validator("teachers")
    @classmethod
    def _are_endpoints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not ENDPOINT.fullmatch(text) or urlsplit(text.partition("=")[2]).username is not None:
                raise ValueError(f"{text.partition('=')[0]!r} must be NAME=https://host/v1, or that and #VARIABLE")
            if (variable := text.partition("#")[2]).upper().startswith(OPENS_THE_SERVICE):
                raise ValueError(
                    f"{variable!r} is kept from jobs, as all that begins so: call it otherwise, as FAR_KEY"
                )
        return value

    @cached_property
    def teacher_endpoints(self) -> dict[str, tuple[str, str | None]]:
        """The URL of each endpoint by its name, and the variable that holds its key."""
        pairs = (text.partition("=")[::2] for text in self.teachers)
        return {name: (where.partition("#")[0].rstrip("/"), where.partition("#")[2] or None) for name, where in pairs}

    @cached_property
    def proxy_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(text) for text in self.trusted_proxies)

    @property
    def idle(self) -> timedelta:
        return timedelta(minutes=self.idle_minutes)

    @property
    def tls(self) -> bool:
        """People come over HTTPS: cookies are marked Secure."""
        return bool(self.public_url and self.public_url.startswith("https://"))

    def to_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` for a child process that must read exactly these settings, whatever it held of them."""
        variables = {name: PREFIX + name.upper() for name in Settings.model_fields}
        ours = {variable + ending for variable in variables.values() for ending in ("", "_FILE")}
        told = {variable: _written(getattr(self, name)) for name, variable in variables.items()}
        others = {name: value for name, value in environment.items() if name not in ours}
        return others | {variable: text for variable, text in told.items() if text}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; raises SettingsError naming the variable and what would be right."""
        found = {name: _value(environment, PREFIX + name.upper()) for name in cls.model_fields}
        try:
            return cls.model_validate({name: value for name, value in found.items() if value})
        except ValidationError as error:
            name = str(error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"][0])
            message = str(explain(error, cls)[0].message)
            got = repr(found[name]) if cls.model_fields[name].repr and found[name] else ""  # no secret is shown
            ending = f" (got {got})" if got and got not in message else ""
            raise SettingsError(f"{PREFIX}{name.upper()} cannot be used: {message}{ending}.") from None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= MOST_PORT


def sample_password(url: str) -> bool:
    """Whether a database URL has a password that stands in examples, or is the name of its user."""
    user, password, _ = _login(url)
    return password is not None and (password.lower() in SAMPLE_PASSWORDS or password == user)


def _is_elsewhere(url: str) -> bool:
    """Whether the database is on another machine: neither a loopback address nor a socket."""
    host = _login(url)[2]
    return bool(host) and host not in ("localhost", "127.0.0.1", "::1") and not host.startswith("/")


def _login(url: str) -> tuple[str | None, str | None, str]:
    """User, password and host of a database URL, wherever in it they stand."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
    return user or query.get("user"), password or query.get("password"), parts.hostname or query.get("host", "")


def _written(value: object) -> str:
    """A setting as `from_environment` reads it back; empty when it is unset."""
    if isinstance(value, tuple):
        return (os.pathsep if value and isinstance(value[0], Path) else ",").join(str(part) for part in value)
    return "" if value is None else str(value)


def _value(environment: Mapping[str, str], variable: str) -> str | None:
    """The variable, or the content of the file that `<variable>_FILE` names."""
    path = environment.get(f"{variable}_FILE")
    if not path:
        return environment.get(variable)
    if environment.get(variable):
        raise SettingsError(f"{variable} and {variable}_FILE are both set; keep one.")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {error.strerror}.") from None
