"""What the dispatcher tells its launchers by their environment, besides its own settings."""

from __future__ import annotations

import os
import secrets

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # a driver otherwise hangs for 60 s after its head died
    "RAY_DEDUP_LOGS": "0",  # the stage's output stands in the attempt's log as it was written
    "RAY_DISABLE_WORKER_LOG_PREFIX": "1",
}


def launcher_environment(ray_address: str | None) -> dict[str, str]:
    """This process's environment with what Ray must read before it is imported; set values win.

    A local Ray gets a token of its own, so that no other user of the machine can hand it work.
    """
    token = {} if ray_address else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return RAY | dict(os.environ) | token
