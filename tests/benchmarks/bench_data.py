"""What data cost: a real API process on the embedded Postgres, one client on the same machine.

    python -m tests.benchmarks.bench_data [--rows 100000] [--only import|export]

Prints seconds of each step, and the resident memory of the API process: before, the peak during the
step (`VmHWM`, set back before each), and the growth. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session

from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.form_rows import add_form
from annotation_api.db.forms import RankingForm
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import Person, Project
from annotation_api.people.service import ensure_local_engineer_key
from annotation_api.processes.parts import api_command

MEGABYTE = 2**20
FORMATS = ("jsonl", "trl", "parquet", "records-parquet", "csv")
WORDS = "the quick answer is that nobody knows for certain why birds sing before the sun comes up"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", choices=("import", "export"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rankloop-bench-") as folder, service(Path(folder)) as bench:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.rows:,} rows", flush=True)
        if options.only != "export":
            imports(bench, Path(folder), options.rows)
        if options.only != "import":
            exports(bench, options.rows)


class Bench:
    """The service's client, its engine, and the process whose memory counts."""

    def __init__(self, client: httpx.Client, sessions: Any, process: int) -> None:
        self.client, self.sessions, self.process = client, sessions, process

    def measure(self, name: str, work: Any) -> Any:
        """Run `work`; print its seconds and the memory of the API process."""
        Path(f"/proc/{self.process}/clear_refs").write_text("5")  # sets VmHWM back to what is resident now
        before, started = self._memory("VmRSS"), time.perf_counter()
        result = work()
        seconds, peak = time.perf_counter() - started, self._memory("VmHWM")
        print(f"{name:32} {seconds:7.1f} s   {before:6.0f} MB, peak {peak:6.0f} MB, growth {peak - before:6.0f} MB")
        sys.stdout.flush()
        return result

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024 / MEGABYTE


@contextmanager
def service(home: Path) -> Iterator[Bench]:
    home.chmod(0o755)
    with EmbeddedPostgres(home) as server:
        upgrade(server.url)
        sessions = session_factory(make_engine(server.url))
        with sessions.begin() as session:
            key = ensure_local_engineer_key(session)
        port = free_port()
        environment = os.environ | {"RANKLOOP_DATABASE_URL": server.url, "RANKLOOP_HOME": str(home)}
        api = subprocess.Popen(api_command("127.0.0.1", port), env=environment)
        headers = {"Authorization": f"Bearer {key}"}
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=600) as client:
                wait_until_ready(client)
                yield Bench(client, sessions, api.pid)
        finally:
            api.terminate()
            api.wait()


def wait_until_ready(client: httpx.Client) -> None:
    """Until it listens and says that it is ready; SystemExit with what it last said otherwise."""
    said = "nothing"
    for _ in range(300):
        try:
            answer = client.get("/readyz")
        except httpx.TransportError as error:
            said = str(error)
        else:
            if answer.is_success:
                return
            said = answer.text
        time.sleep(0.1)
    raise SystemExit(f"the API did not come up; the last that it said: {said}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---------------------------------------------------------------- import


def imports(bench: Bench, folder: Path, rows: int) -> None:
    shapes = {
        "demonstrations": lambda n: {"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."},
        "preferences": lambda n: {"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}."},
    }
    for kind, shape in shapes.items():
        file = folder / f"{kind}.jsonl"
        with file.open("w") as lines:
            lines.writelines(json.dumps(shape(number)) + "\n" for number in range(rows))
        report = bench.measure(f"import {kind}", lambda file=file, kind=kind: post_file(bench, file, kind))
        assert report["accepted"] == rows, report


def post_file(bench: Bench, file: Path, kind: str) -> dict[str, Any]:
    with file.open("rb") as stream:
        answer = bench.client.post("/v1/datasets", data={"kind": kind}, files={"file": (file.name, stream)})
    answer.raise_for_status()
    report: dict[str, Any] = answer.json()
    return report


# ---------------------------------------------------------------- export


def exports(bench: Bench, rows: int) -> None:
    with bench.sessions.begin() as session:
        project = collected(session, rows)
    body = {"kind": "rankings", "project": str(project)}
    snapshot = bench.measure("freeze rankings of a project", lambda: post(bench, "/v1/snapshots", body))
    assert snapshot["rows"] == rows
    for format in FORMATS:
        path = f"/v1/snapshots/{snapshot['id']}/export?format={format}"
        size = bench.measure(f"export {format}", lambda path=path: download(bench, path))
        print(f"{'':32} {size / MEGABYTE:7.1f} MB")


def post(bench: Bench, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = bench.client.post(path, json=body)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def download(bench: Bench, path: str) -> int:
    with bench.client.stream("GET", path) as answer:
        answer.raise_for_status()
        return sum(len(piece) for piece in answer.iter_raw())


def collected(session: Session, rows: int) -> uuid.UUID:
    """A project with `rows` judgements of K = 4 responses, made inside the database."""
    person = session.query(Person).first()
    assert person is not None
    project = Project(id=uuid.uuid4(), name="bench", created_by=person.id)
    session.add(project)
    session.flush()
    form = add_form(session, project.id, RankingForm(), person.id)
    values = {"rows": rows, "project": project.id, "form": form.id, "person": person.id, "words": WORDS}
    for statement in FILL:
        session.execute(text(statement), values)
    return project.id


FILL = (
    "SET LOCAL statement_timeout = 0",
    "CREATE TEMP TABLE made ON COMMIT DROP AS SELECT n, gen_random_uuid() AS prompt, gen_random_uuid() AS task, "
    "gen_random_uuid() AS assignment, gen_random_uuid() AS r0, gen_random_uuid() AS r1, gen_random_uuid() AS r2, "
    "gen_random_uuid() AS r3 FROM generate_series(1, :rows) AS n",
    "INSERT INTO prompts (id, project_id, key, record) SELECT prompt, :project, md5(n::text) || md5(n::text), "
    "jsonb_build_object('messages', jsonb_build_array(jsonb_build_object('role', 'user', 'content', "
    "'Question ' || n || ': ' || :words))) FROM made",
    "INSERT INTO tasks (id, project_id, prompt_id, form_id, overlap, judged) "
    "SELECT task, :project, prompt, :form, 1, 1 FROM made",
    *(
        f"INSERT INTO responses (id, prompt_id, text, text_hash) SELECT r{place}, prompt, "
        f"'Answer {place} to ' || n || ': ' || :words || ' ' || :words, md5('{place}' || n) || md5('x') FROM made"
        for place in range(4)
    ),
    *(
        f"INSERT INTO task_responses (task_id, position, response_id) SELECT task, {place}, r{place} FROM made"
        for place in range(4)
    ),
    "INSERT INTO assignments (id, task_id, person_id, state, display_order, lease_until) SELECT assignment, task, "
    ":person, 'submitted', jsonb_build_array(r3, r1, r0, r2), now() FROM made",
    "INSERT INTO submissions (id, assignment_id, payload, payload_hash) SELECT gen_random_uuid(), assignment, "
    "jsonb_build_object('groups', jsonb_build_array(jsonb_build_array(r2), jsonb_build_array(r0, r3), "
    "jsonb_build_array(r1)), 'strength', 1 + n % 4), md5('x') || md5('x') FROM made ORDER BY n",
    "ANALYZE",
)


if __name__ == "__main__":
    main()
