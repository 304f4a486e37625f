"""What the dispatcher is told by its environment, and what it tells its launchers by theirs."""

from __future__ import annotations

import os
import secrets
from enum import StrEnum

from pydantic import Field

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
    checkpoint_days: float = Field(
        default=14.0, ge=0, description="Checkpoints of failed and cancelled jobs are kept for so long."
    )


def launcher_environment(ray_address: str | None) -> dict[str, str]:
    """This process's environment with what Ray must read before it is imported; set values win.

    A local Ray gets a token of its own, so that no other user of the machine can hand it work.
    """
    token = {} if ray_address else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return RAY | dict(os.environ) | token
