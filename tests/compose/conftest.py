"""The service as docker-compose.yml describes it, started once for the tests of a module."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compose.docker import Docker, blocks
from tests.compose.people import Admin, Running
from tests.compose.stack import Stack

ROOT = Path(__file__).parents[2]
LISTED = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]


@contextmanager
def project() -> Iterator[Path]:
    """A copy of the checkout's files, as somebody who deploys it has them, in a folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="rankloop-project-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        for name in subprocess.check_output(LISTED, cwd=ROOT, text=True).splitlines():
            if not name.startswith("tests/") and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running(namespaces: None) -> Iterator[Running]:
    """The service as docs/deploy.md starts it from nothing, with its first admin."""
    began = time.monotonic()
    with project() as folder, Stack(folder) as stack, Docker(stack) as docker:
        lines = blocks(folder / "docs" / "deploy.md")
        docker.shell(lines["secrets"])
        said = docker.shell(lines["up"])
        stack.settle()
        yield Running(stack, docker, lines, Admin(stack, said), began)
