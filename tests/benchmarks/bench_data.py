"""What data cost: a real API process on the embedded Postgres, one client on the same machine.

    python -m tests.benchmarks.bench_data [--rows 100000] [--size 1024] [--only import|export|near]

Imports are of rows of so many bytes; `near` finds near-duplicates among twice as many short records, in a process of
its own. Prints seconds of each step, and the resident memory of the API process: before, the peak during the
step (`VmHWM`, set back before each), and the growth. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session

from alignment.shared.config import PrepareConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt
from alignment.shared.stages import PrepareInputs
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.form_rows import add_form
from annotation_api.db.forms import RankingForm
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.db.tables import Person, Project
from annotation_api.people.service import ensure_local_engineer_key
from annotation_api.processes.parts import api_command
from workers.preparation.work import prepare

MEGABYTE = 2**20
FORMATS = ("jsonl", "trl", "parquet", "records-parquet", "csv")
WORDS = "the quick answer is that nobody knows for certain why birds sing before the sun comes up"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a row")
    parser.add_argument("--only", choices=("import", "export", "near"))
    options = parser.parse_args()
    if options.only in (None, "near"):
        near(2 * options.rows)
    if options.only == "near":
        return
    with tempfile.TemporaryDirectory(prefix="rankloop-bench-") as folder, service(Path(folder)) as bench:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.rows:,} rows", flush=True)
        if options.only != "export":
            imports(bench, Path(folder), options.rows, options.size)
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


def imports(bench: Bench, folder: Path, rows: int, size: int) -> None:
    shapes = {
        "demonstrations": lambda n: {"instruction": f"Question {n}?", "output": filler(n, size)},
        "preferences": lambda n: {"prompt": f"Question {n}?", "chosen": filler(n, size // 2), "rejected": f"Bad {n}."},
        "conversations": lambda n: {"messages": [turn("user", f"{n}?"), turn("assistant", filler(n, size))]},
    }
    for kind, shape in shapes.items():
        file = folder / f"{kind}.jsonl"
        with file.open("w") as lines:
            lines.writelines(json.dumps(shape(number)) + "\n" for number in range(rows))
        bench.measure(f"preview {kind}", lambda file=file, kind=kind: preview(bench, file, kind))
        report = bench.measure(f"import {kind}", lambda file=file, kind=kind: post_file(bench, file, kind))
        assert report["accepted"] == rows, report
        file.unlink()


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def filler(number: int, size: int) -> str:
    """A text of about that many bytes, no two alike."""
    return f"{number}: " + (f"{WORDS} {number % 97}. " * (size // len(WORDS) + 1))[: max(0, size - 60)]


def preview(bench: Bench, file: Path, kind: str) -> None:
    """Of its first 4 MB, as the page sends them."""
    with file.open("rb") as stream:
        sent = {"file": (file.name, stream.read(4 * MEGABYTE))}
    form = {"kind": kind, "beginning": "true"}
    bench.client.post("/v1/datasets:preview", data=form, files=sent).raise_for_status()


def post_file(bench: Bench, file: Path, kind: str) -> dict[str, Any]:
    with file.open("rb") as stream:
        answer = bench.client.post("/v1/datasets", data={"kind": kind}, files={"file": (file.name, stream)})
    answer.raise_for_status()
    report: dict[str, Any] = answer.json()
    return report


# ---------------------------------------------------------------- near-duplicates


def near(rows: int) -> None:
    """Seconds and memory of finding them, in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        seconds, memory, left = pool.submit(_near, rows).result()
    print(f"near-duplicates among {rows:,} records {seconds:7.1f} s   {memory:6.0f} MB, {left:,} stay", flush=True)


def _near(rows: int) -> tuple[float, float, int]:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="rankloop-bench-") as folder:
        path = Path(folder) / "records.jsonl"
        with path.open("w") as lines:
            for _ in range(rows):
                text = " ".join(rng.choices(WORDS.split(), k=12)) + f" {rng.randrange(rows)}"
                lines.write(Demonstration(prompt=Prompt.from_text("Tell."), response=text).canonical() + "\n")
        started = time.perf_counter()
        done = prepare(PrepareConfig(duplicates="near"), PrepareInputs(records=path), Path(folder), NullReporter())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
        return time.perf_counter() - started, memory, int(done.metrics["after"])


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
