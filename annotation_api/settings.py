"""What the service is told by its environment. A wrong value ends in one sentence; no secret is printed.

Every `RANKLOOP_X` may also come from a file that `RANKLOOP_X_FILE` names (Docker and Kubernetes secrets).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

PREFIX = "RANKLOOP_"


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
    ray_address: str | None = Field(default=None, description="A Ray cluster; unset: a local Ray.")
    public_url: str | None = Field(default=None, description="Where people reach the service, if not where it listens.")
    allowed_hosts: Names = Field(
        default=(), description="Host names that requests may carry besides this machine's own; *.example.com works."
    )
    max_body_bytes: int = Field(default=4 * 2**20, ge=2**10, description="Largest request, uploads apart.")

    log: Literal["json", "text"] | None = Field(
        default=None, description="How processes log; unset: text on a terminal, JSON elsewhere, text for attempts."
    )
    metrics_token: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="A bearer token that may read /metrics, and nothing else; unset: only people's API keys may.",
    )
    artifact_days: int | None = Field(
        default=None, ge=1, description="`rankloop prune` removes unused artifacts that are older; unset: none."
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str | None) -> str | None:
        if value and not value.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
            raise ValueError("it must look like postgresql://user:password@host:5432/name")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must start with http:// or https://")
        return value.rstrip("/") if value else None

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
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            variable = PREFIX + str(first["loc"][0]).upper()
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{variable} cannot be used: {message}.") from None


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
