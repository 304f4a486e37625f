"""What dispatcher and launchers are told by their environment, and which variables mean nothing to any part.

It lies here so that `rankloop up` can refuse a wrong one, and `rankloop doctor` remark on it, before a dispatcher runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from annotation_api.settings import PREFIX, Settings

# What is read elsewhere: by the command line, by whoever needs Postgres's programs, by tests of crashes.
BESIDE = {
    "URL": "Of the command line: the service that it talks to; unset: the one of HOME/credentials.json.",
    "API_KEY": "Of the command line: the key that it sends, made on the page API keys; unset: of that file, too.",
    "POSTGRES_BIN": "The folder of Postgres's programs: the embedded server, backup, restore; unset: the newest found.",
    "CRASH_POINT": "Of tests alone: the line at which a worker's process is killed.",
}
IN_FILES = ("API_KEY",)  # of them what may lie in a file, too, as each setting may


class ExecutorKind(StrEnum):
    """Where stages run."""

    RAY = "ray"  # in actors: GPUs are shared out, several machines
    PROCESS = "process"  # in child processes of their launchers: one machine


class MirrorKind(StrEnum):
    """Trackers that a launcher can tell of its attempt."""

    MLFLOW = "mlflow"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


def _listed(value: Any) -> Any:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


class WorkerSettings(Settings):
    slots: int = Field(default=1, ge=1, le=1000, description="Jobs that this machine's dispatcher runs at a time.")
    executor: ExecutorKind = Field(
        default=ExecutorKind.RAY, description="Where stages run: ray, or process for plain processes on this machine."
    )
    database_grace_seconds: float = Field(
        default=600.0, ge=1, description="A job saves and ends when Postgres has been away for so long."
    )
    infeasible_seconds: float = Field(
        default=60.0,
        ge=0,
        description="A job fails when all machines had too few GPUs for it for so long, and none has left.",
    )
    allow_cpu: bool = Field(
        default=False,
        description="Jobs that ask for GPUs run on the CPU while the Ray cluster has none; else they wait.",
    )
    mirrors: Annotated[tuple[MirrorKind, ...], BeforeValidator(_listed)] = Field(
        default=(), description="Trackers that are told of every attempt: mlflow, tensorboard, wandb; unset: none."
    )
    mirror_project: str = Field(
        default="rankloop", min_length=1, max_length=100, description="What the runs are filed under in a tracker."
    )
    mlflow_uri: str | None = Field(
        default=None,
        validate_default=True,
        description="Where MLflow's server is, as http://mlflow:5000; needed for the mirror mlflow.",
    )
    mlflow_token: str | None = Field(default=None, repr=False, description="The token that MLflow's server wants.")
    wandb_online: bool = Field(
        default=False, description="W&B is told at once; unset: files below HOME/mirrors/wandb, for `wandb sync`."
    )
    wandb_key: str | None = Field(default=None, repr=False, description="The API key that W&B wants when it is online.")
    checkpoint_days: float = Field(
        default=14.0, ge=0, description="Checkpoints of failed and cancelled jobs are kept for so long."
    )

    @field_validator("mlflow_uri")
    @classmethod
    def _mlflow_has_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and MirrorKind.MLFLOW in info.data.get("mirrors", ()):
            raise ValueError("the mirror mlflow needs it, as http://mlflow:5000")
        return value


def remarks(names: Iterable[str]) -> list[str]:
    """Of an environment's names those that look like settings and are none, each with what was perhaps meant."""
    settings = [PREFIX + name.upper() for name in WorkerSettings.model_fields]
    known = [*settings, *(PREFIX + name for name in BESIDE)]
    meant = {*known, *(f"{name}_FILE" for name in (*settings, *(PREFIX + name for name in IN_FILES)))}
    return [_remark(name, known) for name in sorted(names) if name.startswith(PREFIX) and name not in meant]


def _remark(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"{name} is set, but no setting is called so.{f' Did you mean {near[0]}?' if near else ''}"
