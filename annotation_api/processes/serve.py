"""`rankloop serve PART...`: parts of the service in the foreground, as containers and supervisors start them.

One part takes the place of this process. Several are its children: what dies is started again, and SIGTERM ends
them in the reverse order, so that a dispatcher's jobs can save while the Ray head beside it still runs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from annotation_api.processes import parts
from annotation_api.processes.part import Part
from annotation_api.processes.supervision import Child
from annotation_api.settings import Settings, SettingsError

LOOK_SECONDS = 0.5


def main(names: Sequence[Part], host: str, port: int) -> int:
    """Run until SIGTERM or Ctrl-C; the exit code."""
    try:
        settings = Settings.from_environment()
        children = [_child(part, settings, host, port) for part in names]
    except SettingsError as reason:
        print(f"rankloop serve: {reason}", file=sys.stderr)
        return 1
    if len(children) == 1:
        _become(children[0])
    return _watch(children)


def _child(part: Part, settings: Settings, host: str, port: int) -> Child:
    line, told = parts.command(part, settings, host, port), parts.environment(part, settings, os.environ)
    return Child(part.value, line, told, before=partial(parts.make_room, part, settings))


def _become(child: Child) -> None:
    child.before()
    os.execve(child.command[0], child.command, dict(child.environment))


def _watch(children: list[Child]) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as undo:
        for child in children:
            child.start()
            undo.callback(child.stop)
        while not stop.wait(LOOK_SECONDS):
            for child in children:
                child.tend(lambda text: print(text, file=sys.stderr, flush=True))
    return 0
