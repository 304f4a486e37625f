"""Thousands who connect at once and say nothing: whoever comes after them gets a connection."""

from __future__ import annotations

import resource
import socket
import time

from tests.hostile.server import Server, connected, status_of
from tests.journey.desk import HOST

CROWD = 3000  # more than a queue of uvicorn's usual length takes, less than the system's own bound


def test_a_crowd_that_connects_at_once_keeps_nobody_from_connecting(server: Server) -> None:
    """A full queue drops a connection's first packet, and its caller tries again after a second."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = [socket.socket() for _ in range(CROWD)]
    try:
        for one in crowd:
            one.setblocking(False)
            one.connect_ex((HOST, server.port))
        began = time.monotonic()
        newcomer = connected(server.port, f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert time.monotonic() - began < 0.9
        assert status_of(newcomer) == 200
        newcomer.close()
    finally:
        for one in crowd:
            one.close()
