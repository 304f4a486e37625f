"""An installation of an older version, with people and data, becomes one of this version as docs/deploy.md says.

RANKLOOP_UPGRADE_FROM names the commit; unset: the one before this.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import ROOT, project
from tests.compose.docker import Docker, blocks
from tests.compose.people import Admin, Running
from tests.compose.stack import Stack

WHY = "Two versions of the service after each other; rarely does a commit change what is stored."
pytestmark = [pytest.mark.postgres, pytest.mark.ray, pytest.mark.deep(reason=WHY), pytest.mark.timeout(1500)]
OLD = os.environ.get("RANKLOOP_UPGRADE_FROM", "HEAD~1")


def replace_code(project: Path, revision: str) -> None:
    """As a checkout of that commit would; secrets and backups stay."""
    for name in ("alignment", "annotation_api", "workers", "migrations", "deploy"):
        subprocess.run(["rm", "-rf", str(project / name)], check=True)
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(project)], input=archive, check=True)


def kept(before: Any, after: Any) -> bool:
    """Whether all that an answer said is said still; a newer version may say more of each thing."""
    if isinstance(before, dict):
        return all(name in after and kept(value, after[name]) for name, value in before.items())
    if isinstance(before, list):
        return len(before) == len(after) and all(map(kept, before, after))
    return bool(before == after)


def test_what_people_made_is_there_after_an_upgrade_and_jobs_run(namespaces: None) -> None:
    with project() as new, project() as folder:
        lines = blocks(new / "docs" / "deploy.md")
        replace_code(folder, OLD)
        with Stack(folder) as stack, Docker(stack) as docker:
            docker.shell(lines["secrets"])
            stack.up()
            admin = Admin(stack, stack.said("migrate"))
            running = Running(stack, docker, lines, admin, time.monotonic())
            running.base()
            admin.upload("demonstrations")
            before = {path: admin.get(path) for path in ("/v1/models", "/v1/datasets", "/v1/people")}
            subprocess.run(["cp", "-a", f"{new}/.", str(folder)], check=True)
            docker.shell(lines["upgrade"])
            stack.settle()
            admin.wait_ready()
            for path, said in before.items():
                assert kept(said, admin.get(path)), (path, said, admin.get(path))
            assert set(stack.containers) == {"db", "migrate", "api", "dispatcher"}
            admin.wait(running.pipeline(), "succeeded")
