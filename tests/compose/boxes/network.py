"""The network of a stack: a bridge in a namespace of its own, a cable to each container, and published ports.

Nothing leads out of it. Names are resolved by a file of hosts that all containers share, which knows those that run.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from pathlib import Path

from tests.compose.boxes.host import Process, ending_with_us, text_of

PREFIX = "172.30.77"  # of the bridge's own network, which no other one can reach
PUBLISH = Path(__file__).with_name("publish.py")


class Network:
    def __init__(self, hosts: Path) -> None:
        self._hosts, self._names = hosts, dict[str, str]()
        self._numbers = itertools.count(2)
        self.process = ending_with_us(["unshare", "--net", "sleep", "infinity"])
        self._wait_for_namespace()
        self._inside(self.process.pid, "link add bridge type bridge", f"addr add {PREFIX}.1/24 dev bridge")
        self._inside(self.process.pid, "link set bridge up", "link set lo up")
        self._write()

    def join(self, name: str, pid: int) -> str:
        """Lay a cable to the container whose first process is `pid`; its address."""
        number = next(self._numbers)
        address, cable = f"{PREFIX}.{number}", f"cable{number}"
        self._inside(self.process.pid, f"link add {cable} type veth peer name eth0 netns {pid}")
        self._inside(self.process.pid, f"link set {cable} master bridge up")
        self._inside(pid, "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up")
        self._inside(pid, f"route add default via {PREFIX}.1")
        self._names[name] = address
        self._write()
        return address

    def leave(self, name: str) -> None:
        """Cut the cable: what still lives in the container's network reaches nobody."""
        if address := self._names.pop(name, None):
            self._write()
            cable = f"cable{address.rpartition('.')[2]}"
            command = ["nsenter", "-t", str(self.process.pid), "-n", "ip", "link", "del", cable]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)  # it went with its container

    def publish(self, listener: socket.socket, address: str, port: int) -> Process:
        """Pass connections on, as Docker does: to the container they all come from the bridge."""
        command = ["nsenter", "-t", str(self.process.pid), "-n", sys.executable, "-S", str(PUBLISH)]
        arguments = [str(listener.fileno()), address, str(port)]
        return ending_with_us([*command, *arguments], pass_fds=(listener.fileno(),))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _write(self) -> None:
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self._names.items())]
        self._hosts.write_text("\n".join(lines) + "\n")  # in place: containers hold this very file

    def _inside(self, pid: int, *commands: str) -> None:
        subprocess.run(
            ["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input="\n".join(commands), text=True, check=True
        )

    def _wait_for_namespace(self) -> None:
        ours = Path("/proc/self/ns/net").readlink()
        text_of(
            lambda: str(Path(f"/proc/{self.process.pid}/ns/net").readlink() != ours or ""), "the bridge's namespace"
        )
