"""Where processes that train together meet: a port that is held until they begin, and whether each of them reaches it.

torch would wait for minutes and then end with a traceback; here a wall between two machines has a name.
"""

from __future__ import annotations

import contextlib
import os
import socket

import psutil

REACH_SECONDS = 10.0
# Else gloo takes the interface of the host's own name, which on many machines is the loopback.
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def held_port() -> socket.socket:
    """A listening socket on a port that was free; whoever connects is let in by the system itself."""
    return socket.create_server(("", 0))


def obstacle(address: str, port: int) -> str:
    """Why this machine does not reach that port; empty where it does."""
    try:
        with contextlib.closing(socket.create_connection((address, port), REACH_SECONDS)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def interface_of(address: str) -> str:
    """The network interface of this machine that has the address; empty where none has."""
    found = psutil.net_if_addrs().items()
    return next((name for name, held in found if any(one.address == address for one in held)), "")


def speak_through(interface: str) -> None:
    """Have this process's torch use the interface by which Ray's machines know one another; what is set stays."""
    for name in INTERFACES if interface else ():
        os.environ.setdefault(name, interface)
