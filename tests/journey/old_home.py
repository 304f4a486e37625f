"""Makes tests/data/home-0.1.0.tar: a small home as this version leaves it, which later versions must open.

    python -m tests.journey.old_home FILE

Everything is asked for over HTTP: a project that somebody ranked, a snapshot of it, a base model of a few thousand
weights, a tuned one, and a job that was paused after a checkpoint. The archive that is checked in was written by the
commit that added this file and is not written anew: test_old_home.py shows that a home made before still works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from alignment.shared.records import Demonstration, Prompt
from annotation_api.settings import Settings
from annotation_api.up import Service

ANNOTATOR = {"email": "ada@example.org", "name": "Ada", "password": "a long enough passphrase"}
ADMIN = ANNOTATOR | {"email": "admin@example.org", "name": "Admin"}
RANKED, LIMIT = 12, 300.0
CONFIG = {"batch_size": 4, "micro_batch_size": 4, "max_length": 32, "learning_rate": 1e-3}


def make(archive: Path) -> None:
    """Fill a service and back it up."""
    with running() as service:
        headers = {"Authorization": f"Bearer {service.api_key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as engineer:
            project = rank(service, engineer)
            post(engineer, "/v1/snapshots", {"kind": "rankings", "project": project})
            train(engineer, service.settings.home)
        rankloop = Path(sys.executable).with_name("rankloop")
        where = os.environ | {"RANKLOOP_HOME": str(service.settings.home)}
        subprocess.run([rankloop, "backup", archive], env=where, check=True)


@contextmanager
def running() -> Iterator[Service]:
    """A service with a base model in its home. Its stages run in plain processes."""
    from tests.support.alignment import tiny  # torch: the test that imports this file does without

    os.environ |= {"RANKLOOP_EXECUTOR": "process", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="rankloop-old-") as folder:
        Path(folder).chmod(0o755)  # the database server may run under another account
        tiny.save(tiny.causal(), Path(folder) / "home" / "models" / "base")
        with Service(Settings(home=Path(folder) / "home"), "127.0.0.1", 0) as service:
            yield service


def rank(service: Service, engineer: httpx.Client) -> str:
    """A project and an annotator who ranks in it, every third time with a tie; the project's id."""
    project = post(engineer, "/v1/projects", {"name": "Words", "guidelines": "The lower word first."})["id"]
    prompts = [{"messages": [{"role": "user", "content": f"w{i} w{i + 1}"}]} for i in range(RANKED)]
    texts = [{"text": text} for text in ("w1 w2", "w3", "w4 w5")]
    post(engineer, f"/v1/projects/{project}/tasks", [{"prompt": prompt, "responses": texts} for prompt in prompts])
    assert service.setup_url
    with httpx.Client(base_url=service.url) as admin, httpx.Client(base_url=service.url) as annotator:
        post(admin, f"/v1/invitations/{service.setup_url.rsplit('/', 1)[-1]}:accept", ADMIN)
        post(admin, "/v1/session", {key: ADMIN[key] for key in ("email", "password")})
        invitation = post(admin, "/v1/invitations", {"role": "annotator"})
        post(annotator, f"/v1/invitations/{invitation['token']}:accept", ANNOTATOR)
        post(annotator, "/v1/session", {key: ANNOTATOR[key] for key in ("email", "password")})
        for number in range(RANKED):
            post(annotator, "/v1/submissions", ranking(post(annotator, f"/v1/projects/{project}/next"), number))
    return str(project)


def ranking(task: dict[str, Any], number: int) -> dict[str, Any]:
    ids = [response["id"] for response in sorted(task["responses"], key=lambda response: str(response["text"]))]
    groups = [[ids[0]], ids[1:]] if number % 3 == 0 else [[one] for one in ids]
    return {"id": str(uuid.uuid4()), "assignment": task["assignment"], "kind": "ranking", "payload": {"groups": groups}}


def train(engineer: httpx.Client, home: Path) -> None:
    """A job that is done, and one on its model that is paused between two steps."""
    pairs = [Demonstration(prompt=Prompt.from_text(f"w{i % 8} w{i // 8}"), response=f"w{i % 5}") for i in range(64)]
    lines = "".join(f"{pair.canonical()}\n" for pair in pairs)
    form = {"kind": "demonstrations", "format": "jsonl"}
    answer = engineer.post("/v1/datasets", files={"file": ("words.jsonl", lines.encode())}, data=form)
    data = {"dataset": answer.raise_for_status().json()["dataset"]}
    base = post(engineer, "/v1/models", {"name": "tiny", "path": str(home / "models" / "base")})["id"]
    done = sft(engineer, {"model": base}, data, {"epochs": 1.0})
    wait(engineer, done, lambda row: row["state"] == "succeeded")
    paused = sft(engineer, {"job": done}, data, {"epochs": 10.0, "save_every": 20})
    wait(engineer, paused, lambda row: (row["progress"] or {}).get("step", 0) >= 20)
    post(engineer, f"/v1/jobs/{paused}:pause")
    wait(engineer, paused, lambda row: row["state"] == "paused")


def sft(engineer: httpx.Client, model: dict[str, str], data: dict[str, str], config: dict[str, Any]) -> str:
    body = {"stage": "sft", "inputs": {"model": model, "demonstrations": data}, "config": CONFIG | config, "gpus": 0}
    return str(post(engineer, "/v1/jobs", body)["id"])


def wait(engineer: httpx.Client, job: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job's row once it is as wanted."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        row: dict[str, Any] = engineer.get(f"/v1/jobs/{job}").raise_for_status().json()
        if until(row):
            return row
        assert row["state"] not in ("failed", "cancelled"), row["error"]
        time.sleep(0.1)
    raise AssertionError(f"waited {LIMIT:.0f} s for {row}")


def post(client: httpx.Client, path: str, body: Any = None) -> Any:
    answer = client.post(path, json=body)
    assert answer.is_success, f"{path}: {answer.text}"
    return answer.json() if answer.content else None


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
