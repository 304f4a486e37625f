"""A bar for uploads and imports: how much, how fast, how long still. On standard error, for people only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from annotation_api.cli.client import Client, ClientError

POLL_SECONDS = 0.5


class Silent:
    """Takes what a bar takes and shows nothing: for `--json`, and where nobody watches."""

    def sent(self, count: int, total: int) -> None:
        """So many more bytes of `total` left for the service."""

    def read(self, state: dict[str, Any]) -> None:
        """The service's own report on the import."""


class ProgressBar(Silent):
    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._upload = progress.add_task("Uploading", total=None, rows="")
        self._import: Any = None

    def sent(self, count: int, total: int) -> None:
        self._progress.update(self._upload, advance=count, total=total)

    def read(self, state: dict[str, Any]) -> None:
        if self._import is None:
            self._import = self._progress.add_task("Importing", total=state["total"], rows="")
        self._progress.update(self._import, completed=state["bytes"], rows=f"{state['rows']:,} records")


@contextmanager
def shown(quiet: bool) -> Iterator[Silent]:
    """A bar while inside; a silent one if `quiet` or if standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[rows]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield ProgressBar(progress)


@contextmanager
def polled(client: Client, key: str, bar: Silent) -> Iterator[None]:
    """Ask the service how far the import with this key is, while inside."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(POLL_SECONDS):
            try:
                if state := client.get(f"/v1/imports/{key}"):
                    bar.read(state)
            except ClientError:  # the upload itself will tell
                continue

    thread = threading.Thread(target=ask, daemon=True)
    if type(bar) is not Silent:
        thread.start()
    try:
        yield
    finally:
        done.set()
