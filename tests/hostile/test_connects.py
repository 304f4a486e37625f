"""Thousands who connect at once and say nothing: whoever comes after them gets a connection."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

from tests.hostile.server import Server, connected, status_of
from tests.journey.desk import HOST

CROWD = 3000  # more than a queue of uvicorn's usual length takes, less than the system's own bound


def test_a_crowd_that_connects_at_once_keeps_nobody_from_connecting(server: Server) -> None:
    """A full queue drops a connection's first packet, and its caller tries again after a second."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = overflows()
    crowd = [socket.socket() for _ in range(CROWD)]
    try:
        for one in crowd:
            one.setblocking(False)
            one.connect_ex((HOST, server.port))
        newcomer = connected(server.port, f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert status_of(newcomer) == 200
        assert overflows() == before
        newcomer.close()
    finally:
        for one in crowd:
            one.close()


def overflows() -> int:
    """How often a connection came to a full queue of this host's."""
    names, counts = (
        line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt")
    )
    return int(counts[names.index("ListenOverflows")])
