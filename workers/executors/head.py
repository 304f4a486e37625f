"""Whether the head of a Ray cluster answers: one TCP connection, without Ray.

A process that joined a cluster is ended by Ray soon after the head is lost, so the dispatcher never joins
one, and a launcher looks for itself before Ray ends it. Whether a launcher could join is `ray_watch`'s question.
"""

from __future__ import annotations

import socket
from pathlib import Path

PROBE_SECONDS = 1.0
OF_THIS_MACHINE = Path("/tmp/ray/ray_current_cluster")  # where `ray start` notes what the address "auto" means


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    try:
        with socket.create_connection(host_and_port(address), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def host_and_port(address: str) -> tuple[str, int]:
    """From host:port, [host]:port, or auto. Raises OSError where nothing can be reached under it."""
    if address == "auto":
        address = OF_THIS_MACHINE.read_text().strip()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise OSError(f"{address} does not name a host and a port")
    return host.strip("[]"), int(port)
