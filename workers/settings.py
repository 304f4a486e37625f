"""What the dispatcher is told by its environment, and what it tells its launchers by theirs."""

from __future__ import annotations

import os
import secrets
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from annotation_api.settings import Settings

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # a driver otherwise hangs for 60 s after its head died
    "RAY_DEDUP_LOGS": "0",  # the stage's output stands in the attempt's log as it was written
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
}


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


def launcher_environment(ray_address: str | None) -> dict[str, str]:
    """This process's environment with what Ray must read before it is imported; set values win.

    A local Ray gets a token of its own, so that no other user of the machine can hand it work.
    """
    token = {} if ray_address else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return RAY | dict(os.environ) | token
