"""Whether the head of a Ray cluster answers: one TCP connection, without Ray.

A process that joined a cluster is ended by Ray soon after the head is lost, so the dispatcher never joins
one, and a launcher looks for itself before Ray ends it. Whether a launcher could join is `ray_watch`'s question.
"""

from __future__ import annotations

import socket
from pathlib import Path

import psutil

PROBE_SECONDS = 1.0
OF_THIS_MACHINE = Path("/tmp/ray/ray_current_cluster")  # where `ray start` notes what the address "auto" means
RAYLET_SAYS = "--gcs-address="  # how a raylet is told of its head


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    try:
        with socket.create_connection(host_and_port(address), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def host_and_port(address: str) -> tuple[str, int]:
    """From host:port, [host]:port, or auto. Raises OSError where nothing can be reached under it."""
    address = resolved(address)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise OSError(f"{address} does not name a host and a port")
    return host.strip("[]"), int(port)


def resolved(address: str) -> str:
    """What `auto` means: the head that `ray start` noted, or, where it had a folder of its own, that of a raylet here.

    Raises OSError where there is none.
    """
    if address != "auto":
        return address
    try:
        return OF_THIS_MACHINE.read_text().strip()
    except FileNotFoundError:
        found = sorted(_told_to_raylets())
    if not found:
        raise OSError("no Ray runs on this machine")
    return found[0]


def _told_to_raylets() -> set[str]:
    raylets = (process for process in psutil.process_iter(["name", "cmdline"]) if process.info["name"] == "raylet")
    words = (word for process in raylets for word in process.info["cmdline"] or ())
    return {word.removeprefix(RAYLET_SAYS) for word in words if word.startswith(RAYLET_SAYS)}
