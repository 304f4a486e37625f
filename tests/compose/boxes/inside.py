"""The first process of a container: makes its file system, waits for its network, drops what it may not do, and becomes
the service. Standard library only; `box` starts it in namespaces of its own, as root.

    python inside.py PLAN.json      (a line on standard input says that the network is there)
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path | str, kind: str = "none", flags: int = 0, options: str = "") -> None:
    code = libc.mount(source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    if code:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} at {target}: {os.strerror(number)}")


def bind(source: str, target: Path, *, writable: bool) -> None:
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, flags=BIND)
    mount("none", target, flags=REMOUNT | BIND | NOSUID | NODEV | (0 if writable else RDONLY))


def build(root: Path, plan: dict[str, Any]) -> None:
    """Everything that the service will see, below `root`."""
    mount("none", "/", flags=REC | PRIVATE)
    mount("root", root, "tmpfs", options="mode=755,size=256m")
    for link, target in plan["links"].items():
        place = root / link.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for path, content in plan["files"].items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    for path, owner in plan["folders"].items():
        place = root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        os.chown(place, owner, owner)
    _system(root, plan)
    for path, options in plan["tmpfs"].items():
        (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        mount("tmpfs", root / path.lstrip("/"), "tmpfs", NOSUID | NODEV | NOEXEC, options)
    for source, target, writable in plan["binds"]:
        bind(source, root / target.lstrip("/"), writable=writable)


def _system(root: Path, plan: dict[str, Any]) -> None:
    """/proc, /sys, /dev as a container has them."""
    for name in ("proc", "sys", "dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    mount("proc", root / "proc", "proc", NOSUID | NODEV | NOEXEC)
    mount("sysfs", root / "sys", "sysfs", NOSUID | NODEV | NOEXEC | RDONLY)
    mount("dev", root / "dev", "tmpfs", NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, flags=BIND)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    shm = root / "dev" / "shm"
    shm.mkdir()
    if "shared" in plan["shm"]:
        mount(plan["shm"]["shared"], shm, flags=BIND)
    else:
        mount("shm", shm, "tmpfs", NOSUID | NODEV | NOEXEC, f"mode=1777,size={plan['shm']['size']}")


def enter(root: Path, *, read_only: bool) -> None:
    """The new root, and nothing of the old one."""
    os.chdir(root)
    if libc.pivot_root(b".", b"."):
        raise OSError(ctypes.get_errno(), "pivot_root")
    libc.umount2(b".", DETACH)
    os.chdir("/")
    if read_only:
        mount("none", "/", flags=REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def become(plan: dict[str, Any]) -> None:
    os.environ.clear()
    os.umask(0o022)
    os.chdir(plan["workdir"])
    os.execve("/usr/bin/setpriv", [*plan["setpriv"], *plan["command"]], plan["environment"])


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    root = Path(plan["root"])
    build(root, plan)
    sys.stdin.readline()
    os.dup2(plan["input"], 0)
    os.close(plan["input"])
    enter(root, read_only=plan["read_only"])
    socket.sethostname(plan["hostname"])
    become(plan)


if __name__ == "__main__":
    main()
