"""A disk that is really full under Postgres: what is refused, what goes on, and whether anything acknowledged is lost.

    sudo python -m tests.journey.full_disk

Mounts a small tmpfs (which needs root), starts the embedded Postgres on it, and lets annotators answer until the
disk is full. Then reads go on, room is made, answers are taken again, and every answer that was acknowledged is
looked for. Prints what was seen; exits 1 if something is lost or an answer is neither taken nor refused properly.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.app import create_app
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import Role, Submission
from annotation_api.people import service
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support.factory import Factory

SIZE, ROOM = 200, 2  # MiB of the disk, and of what is left on it at first
TASKS = 3000
NOTE = "a long note " * 160  # of each answer: the disk fills sooner
BALLAST = 1 << 20
LIMIT = 60.0  # seconds until Postgres takes answers again
REFUSALS = {(507, "urn:rankloop:database-full"), (503, "urn:rankloop:database-unavailable")}


@contextmanager
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rankloop-full-", dir="/tmp") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=755", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def main() -> int:
    with small_disk() as disk, EmbeddedPostgres(disk / "home") as server:
        upgrade(server.url)
        return _run(disk, server)


def _run(disk: Path, server: EmbeddedPostgres) -> int:
    engine = make_engine(server.url)
    with Session(engine) as session:
        make = Factory(session)
        project = make.project()
        for number in range(TASKS):
            make.task(make.prompt(project, f"{number}?"))
        keys = [service.add_api_key(session, make.person(role), NewApiKey(name="k"))[1] for role in Role]
        project_id = project.id
        session.commit()
    app = create_app(Settings(database_url=server.url, home=disk / "home"), engine)
    annotator, _, _, admin = (
        TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {key}"}) for key in keys
    )
    ballast = _fill(disk)
    acknowledged, refused = _answer_until_refused(annotator, f"/v1/projects/{project_id}/next")
    print(f"{len(acknowledged)} answers were taken until the disk was full; then: {dict(refused)}")
    reads = {path: admin.get(path).status_code for path in ("/v1/me", "/v1/people", "/v1/submissions", "/people")}
    print(f"reading with a full disk: {reads}")
    ballast.unlink()
    seconds = _until_taken(annotator, f"/v1/projects/{project_id}/next", server)
    with Session(engine) as session:
        kept = set(session.scalars(select(Submission.id)))
    lost = acknowledged - kept
    print(f"room was made: answers are taken again after {seconds:.1f} s; {len(lost)} acknowledged answers are lost")
    engine.dispose()
    fine = refused.keys() <= REFUSALS and set(reads.values()) <= {200, 503} and acknowledged and not lost
    return 0 if fine else 1


def _fill(disk: Path) -> Path:
    """Leave ROOM on the disk."""
    path = disk / "ballast"
    free = int(subprocess.run(["df", "-Pm", disk], capture_output=True, text=True, check=True).stdout.split()[10])
    path.write_bytes(bytes(BALLAST) * (free - ROOM))
    return path


def _answer_until_refused(client: TestClient, path: str) -> tuple[set[uuid.UUID], Counter[tuple[int, str]]]:
    acknowledged: set[uuid.UUID] = set()
    refused: Counter[tuple[int, str]] = Counter()
    while not refused.total() > 20:
        key, answer = _answer(client, path)
        if answer.status_code == 201:
            acknowledged.add(key)
        else:
            refused[answer.status_code, answer.json()["type"]] += 1
    return acknowledged, refused


def _answer(client: TestClient, path: str) -> tuple[uuid.UUID, Any]:
    """Take a task and judge it; the answer to whichever of the two was refused."""
    key, held = uuid.uuid4(), client.post(path)
    if held.status_code != 200:
        return key, held
    task = held.json()
    payload = {"groups": [[each["id"]] for each in task["responses"]], "note": f"{key} {NOTE}"[:2000]}
    body = {"kind": "ranking", "id": str(key), "assignment": task["assignment"], "payload": payload}
    return key, client.post("/v1/submissions", json=body)


def _until_taken(client: TestClient, path: str, server: EmbeddedPostgres) -> float:
    """Seconds until an answer is taken again; a Postgres that ended is started, as `rankloop up` does."""
    started = time.monotonic()
    while time.monotonic() - started < LIMIT:
        if not server.running:
            server.start()
        if _answer(client, path)[1].status_code == 201:
            return time.monotonic() - started
        time.sleep(0.1)
    raise SystemExit(f"no answer was taken within {LIMIT:.0f} s after room was made")


if __name__ == "__main__":
    sys.exit(main())
