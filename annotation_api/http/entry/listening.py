"""The API's process: uvicorn, listening so that a crowd of strangers who connect keeps nobody else waiting.

    python -m annotation_api.http.entry.listening HOST PORT

The kernel queues connections until they are accepted. When its queue is full it drops the next one's first packet,
whose sender tries again a second later, whoever that is. The event loop accepts one connection a listener in each of
its turns, between which all requests are served: with one listener, 6,000 half requests filled the queue of 2,048 at
once. So the queue is as long as the system allows (`net.core.somaxconn`), and LISTENERS accept from it in each turn.
"""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress

import uvicorn

log = logging.getLogger("rankloop.api")
BACKLOG = 65_535  # the system's bound is the one that holds
LISTENERS = 8
STREAM_GRACE = 3  # seconds for open answers; event streams never end by themselves
KEEP_SECONDS = 75  # a connection that rests: for longer than people think and than proxies keep theirs


def main(host: str, port: int) -> int:
    """Serve until told to stop; the exit code."""
    config = _config()
    config.load()  # with it the log begins
    try:
        sockets = bound(host, port)
    except OSError as error:
        log.error("the API cannot listen on %s:%d: %s", host, port, error)
        return 1
    log.info("the API listens on %s:%d", host, port)
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # told to stop at a terminal, it has stopped
        server.run([listener for one in sockets for listener in (one, *(one.dup() for _ in range(LISTENERS - 1)))])
    return 0 if server.started else 3


def bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address that the name has."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [_bound(family, address) for family, _, _, _, address in dict.fromkeys(found)]


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
    return one


def _config() -> uvicorn.Config:
    return uvicorn.Config(
        "annotation_api.app:create_app",
        factory=True,
        loop="uvloop",
        http="annotation_api.http.entry.wire:Doorman",
        backlog=BACKLOG,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STREAM_GRACE,
        timeout_keep_alive=KEEP_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
