"""Become a Postgres server that ends with its owner. Run as a program, never imported.

    python postmaster.py OWNER_PID UID GID COMMAND...

Drops root, asks Linux to send SIGINT (Postgres: fast shutdown) when the owner dies, however it
dies, then becomes COMMAND under the same process id. Where the kernel has no such signal (macOS),
the server of a killed owner runs on until the next start stops it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(owner: int, uid: int, gid: int, command: list[str]) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":  # after the change of user, which clears the request
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != owner:
        raise SystemExit("the owner died before its server began")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
