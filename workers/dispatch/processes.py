"""Questions to the system about launchers, and what is sent to them."""

from __future__ import annotations

import logging
import os
import signal

import psutil

log = logging.getLogger(__name__)


def runs(pid: int, *last: str) -> bool:
    """Whether the process exists and its command ends in these arguments: an id alone may have been used again."""
    try:
        command: list[str] = psutil.Process(pid).cmdline()
        return command[-len(last) :] == list(last)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False


def lives(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    process = find(pid)
    return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def end_group(pid: int) -> None:
    """End what is left of a launcher's process group: two agents of Ray outlive a killed head by a minute."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("Launcher %d left nothing behind.", pid)


def find(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        log.debug("Process %d ended by itself.", process.pid)
