"""`rankloop` against a service that really listens, on a real Postgres."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.events import StageProgress
from annotation_api.cli import client, command_line, main
from annotation_api.cli.streamed import StreamedEvent
from annotation_api.datasets.exports import ExportFormat
from annotation_api.db.engine import session_factory
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.jobs.records import Again, Failure, ModelToRegister
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Dataset, Job, JobState, ModelKind, Role
from annotation_api.people import service as people
from annotation_api.people.schemas import NewApiKey
from annotation_api.settings import Settings
from tests.support import house
from tests.support.live import app_of, served

PAIRS = [{"prompt": f"Q{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(1, 21)]
DEMONSTRATIONS = [{"instruction": f"Q{i}?", "input": "", "output": f"a{i}"} for i in range(1, 6)]


class Live:
    """A running service with an engineer's key, and what stands in for the dispatcher."""

    def __init__(self, url: str, sessions: sessionmaker[Session], root: Path) -> None:
        self.url, self.sessions, self.root = url, sessions, root

    def key(self, role: Role, factory: Any) -> str:
        with self.sessions.begin() as session:
            return people.add_api_key(session, factory(session).person(role), NewApiKey(name="cli"))[1]

    @contextmanager
    def at_work(self, *, fail_at: str | None = None) -> Iterator[None]:
        """Inside, every job that is queued is done, as by the dispatcher."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(0.05):
                self.work_off(fail_at)

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            try:
                yield
            finally:
                over.set()
            working.result()

    def work_off(self, fail_at: str | None = None) -> None:
        """Do what is queued now."""
        while True:
            with self.sessions.begin() as session:
                job = job_store.claim(session, "host:1", 60)
            if job is None:
                return
            self._run(job, fail_at == job.stage.value)

    def _run(self, job: Job, fails: bool) -> None:
        with self.sessions.begin() as session:
            job_store.mark_running(session, job.id, job.epoch)
            progress = StageProgress("train", 1, 1, 4.0, 0.0, {"loss": 0.25})
            job_store.append_events(session, job.id, job.epoch, [Event.progress(progress), Event.note("on the CPU")])
            if fails:
                failure = Failure(ErrorKind.DIVERGED, "The loss is NaN.", "Lower the rate.")
                job_store.fail(session, job.id, job.epoch, failure, Again.NEVER)
                return
            job_store.mark_committing(session, job.id, job.epoch)
        kind = {"sft": ModelKind.SFT, "reward": ModelKind.REWARD, "ppo": ModelKind.POLICY}[job.stage.value]
        model = ModelToRegister(job.stage.value, kind, str(self.root / "tiny"), None)
        with self.sessions.begin() as session:
            job_store.commit_success(
                session, job.id, job.epoch, result={"metrics": {"loss": 0.25}}, artifacts=[], model=model
            )


def whole_weights() -> bytes:
    """A safetensors file with one number: the length of the header, the header, the data."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


@pytest.fixture
def live(fresh_database: str, fresh_engine: Engine, tmp_path: Path) -> Iterator[Live]:
    root = tmp_path / "models"
    folder = root / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(whole_weights())
    settings = Settings(database_url=fresh_database, home=tmp_path / "home", model_roots=(root,))
    with served(app_of(settings, fresh_engine)) as url:
        yield Live(url, session_factory(fresh_engine), root)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    live: Live, factory: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """`run("jobs", "list")`: exit code, standard output, standard error; as an engineer, in an empty folder."""
    monkeypatch.setenv("RANKLOOP_URL", live.url)
    monkeypatch.setenv("RANKLOOP_API_KEY", live.key(Role.ENGINEER, factory))
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def ask(run: Run) -> Callable[..., Any]:
    """The JSON that a command prints; it must succeed."""

    def command(*words: str) -> Any:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out.splitlines()[-1])

    return command


def write(path: Path, rows: list[Any]) -> str:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


# ---------------------------------------------------------------- import and export


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_import_prints_the_report_and_exits_0(run: Run, tmp_path: Path, flags: tuple[str, ...]) -> None:
    code, out, _ = run("import", write(tmp_path / "pairs.jsonl.gz", [*PAIRS, PAIRS[0]]), "--as", "preferences", *flags)
    report = json.loads(out)
    assert code == 0
    assert uuid.UUID(report["dataset"])
    assert {k: report[k] for k in ("accepted", "duplicates", "rejected", "errors")} == {
        "accepted": 20, "duplicates": 1, "rejected": 0, "errors": [],
    }  # fmt: skip


BAD = [PAIRS[0], {"prompt": "Q?"}, PAIRS[1], "{broken 问"]


def test_a_bad_row_ends_in_1_and_nothing_is_imported(run: Run, ask: Callable[..., Any], tmp_path: Path) -> None:
    code, out, err = run("import", write(tmp_path / "bad.jsonl", BAD), "--as", "preferences")
    report = json.loads(out)
    assert (code, report["dataset"], report["rejected"]) == (1, None, 2)
    assert [(e["row"], e["field"]) for e in report["errors"]] == [(2, "chosen"), (4, "")]
    assert "bad.jsonl, row 2, chosen: " in err
    assert "Nothing was imported" in err
    assert sorted(path.name for path in tmp_path.glob("bad*")) == ["bad.jsonl"]
    import_again = ask("import", write(tmp_path / "good.jsonl", PAIRS), "--as", "preferences")
    assert import_again["accepted"] == 20


def test_a_file_of_no_known_layout_is_told_how_columns_are_named(run: Run, tmp_path: Path) -> None:
    code, _, err = run("import", write(tmp_path / "own.jsonl", [{"Frage": "Q?", "Antwort": "A."}]), "--as", "prompts")
    assert (code, "has the fields Frage, Antwort" in err, "--map prompt=Question\n" in err) == (1, True, True)
    assert len(err.splitlines()) == 3


def test_skip_bad_leaves_the_refused_rows_beside_the_source(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "bad.jsonl.gz", BAD)
    code, out, err = run("import", source, "--as", "preferences", "--skip-bad")
    report = json.loads(out)
    assert (code, report["accepted"], report["rejected"]) == (1, 2, 2)
    assert report["dataset"]
    beside = tmp_path / "bad.jsonl.gz.refused.jsonl"
    assert str(beside) in err
    rows = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [(row["row"], row["source"]) for row in rows] == [(2, {"prompt": "Q?"}), (4, "{broken 问\n")]
    assert rows[0]["message"] == report["errors"][0]["message"]


def test_a_preview_stores_nothing(run: Run, ask: Callable[..., Any], tmp_path: Path, live: Live) -> None:
    code, out, err = run("import", write(tmp_path / "bad.jsonl", BAD), "--as", "preferences", "--preview")
    report = json.loads(out)
    assert (code, report["dataset"], report["accepted"], report["rejected"]) == (1, None, 2, 2)
    assert [record["row"] for record in report["records"]] == [1, 3]
    assert "Preview: 2 records, 0 duplicates, 2 refused (layout trl). Nothing was stored." in err
    with live.sessions() as session:
        assert session.query(Dataset).count() == 0
    assert ask("import", write(tmp_path / "good.jsonl", PAIRS), "--as", "preferences", "--preview")["accepted"] == 20


def test_people_at_a_terminal_see_how_far_it_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("annotation_api.cli.progress.POLL_SECONDS", 0.01)
    source = write(tmp_path / "many.jsonl", [{"instruction": f"Q{n}?", "output": "a"} for n in range(3000)])
    for flags, words in (((), ("Uploading", "Importing", "records", "/s")), (("--json",), ())):
        screen = Terminal()
        with monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setattr("sys.stderr", screen)
            assert main(["import", source, "--as", "demonstrations", *flags]) == 0
        shown = screen.getvalue()
        assert all(word in shown for word in words)
        assert ("Uploading" in shown) == bool(words)


@pytest.mark.parametrize("kind", command_line.COLLECTED)
def test_what_is_collected_is_never_imported(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["import", "file.jsonl", "--as", kind])
    assert stop.value.code == 2
    assert f"{kind} are collected in projects and never imported; `export` writes them" in capsys.readouterr().err


def test_export_writes_every_format(ask: Callable[..., Any], tmp_path: Path) -> None:
    dataset = ask("import", write(tmp_path / "pairs.jsonl", PAIRS), "--as", "preferences")["dataset"]
    files = {format: ask("export", f"dataset:{dataset}", "--format", format)["file"] for format in ExportFormat}
    assert [name.split(".", 1)[1] for name in files.values()] == [
        "trl.jsonl", "jsonl", "parquet", "records.parquet", "csv",
    ]  # fmt: skip
    assert (tmp_path / files["csv"]).read_bytes().startswith(b"prompt,chosen,rejected,margin,weight,split,lineage\r\n")
    assert (tmp_path / files["parquet"]).read_bytes()[-4:] == b"PAR1"


def test_export_writes_whole_files(ask: Callable[..., Any], run: Run, tmp_path: Path) -> None:
    dataset = ask("import", write(tmp_path / "pairs.jsonl", PAIRS), "--as", "preferences")["dataset"]
    told = ask("export", f"dataset:{dataset}", "--format", "trl", "--out", "out.jsonl")
    assert told["snapshot"]["rows"] == len((tmp_path / "out.jsonl").read_text().splitlines()) == 20
    code, _, _ = run("export", told["snapshot"]["id"])
    assert code == 0
    assert (tmp_path / f"snapshot-{told['snapshot']['id']}.jsonl").stat().st_size > 0
    code, _, err = run("export", told["snapshot"]["id"], "--out", "no/such/folder/x")
    assert (code, err.count("\n")) == (1, 1)


# ---------------------------------------------------------------- jobs, pipelines, models


@pytest.fixture
def data(ask: Callable[..., Any], tmp_path: Path) -> tuple[str, str]:
    demonstrations = write(tmp_path / "d.jsonl", DEMONSTRATIONS)
    pairs = write(tmp_path / "p.jsonl", PAIRS)
    return (
        ask("import", demonstrations, "--as", "demonstrations")["dataset"],
        ask("import", pairs, "--as", "preferences")["dataset"],
    )


def pipeline(data: tuple[str, str], live: Live) -> tuple[str, ...]:
    base = str(live.root / "tiny")
    return "pipeline", "run", "--base", base, "--demonstrations", data[0], "--preferences", data[1], "--gpus", "0"


@pytest.mark.parametrize("flags", [(), ("--watch",)])
def test_a_pipeline_runs_to_its_end_and_names_what_it_made(
    run: Run, live: Live, data: tuple[str, str], flags: tuple[str, ...]
) -> None:
    with live.at_work():
        code, out, err = run(*pipeline(data, live), *flags, "--json")
    assert code == 0, err
    told = json.loads(out.splitlines()[-1])
    assert [stage["stage"] for stage in told["stages"]] == ["sft", "reward", "ppo"]
    assert {stage["state"] for stage in told["stages"]} == {"succeeded"}
    assert all(uuid.UUID(stage["job"]) and uuid.UUID(stage["model"]) for stage in told["stages"])
    watched = [json.loads(line) for line in out.splitlines()[:-1]]
    assert ("progress" in {row["type"] for row in watched}) == bool(flags)


def test_a_failed_stage_makes_the_command_fail_and_says_how_to_go_on(
    run: Run, live: Live, data: tuple[str, str]
) -> None:
    with live.at_work(fail_at="reward"):
        code, out, _ = run(*pipeline(data, live), "--watch")
    assert code == 1
    assert "The loss is NaN. Lower the rate." in out
    assert "Then: rankloop pipeline resume" in out
    assert "train 1/1  4/s  0 s left  loss 0.25" in out


def test_a_job_is_created_shown_cancelled_and_retried(
    run: Run, ask: Callable[..., Any], live: Live, data: tuple[str, str]
) -> None:
    base = ask("models", "register", str(live.root / "tiny"), "--name", "tiny")["id"]
    words = ("jobs", "create", "sft", "--model", base, "--data", data[0])
    dry = ask(*words, "--validate", "--set", "epochs=4")
    assert (dry["ok"], dry["estimate"]["config"]["epochs"]) == (True, 4.0)
    job = ask(*words, "--set", "lora.rank=4", "--priority", "3")
    assert (job["state"], job["config"]["lora"]["rank"], job["priority"]) == ("queued", 4, 3)
    assert [row["id"] for row in ask("jobs", "list", "--state", "queued")] == [job["id"]]
    assert ask("jobs", "show", job["id"])["stage"] == "sft"
    assert ask("jobs", "cancel", job["id"])["state"] == "cancelled"
    assert ask("jobs", "retry", job["id"])["state"] == "queued"
    ask("jobs", "cancel", job["id"])
    assert ask("jobs", "resume", job["id"])["state"] == "queued"
    code, out, _ = run("jobs", "list")
    assert code == 0
    assert job["id"] in out
    code, _, err = run(*words, "--set", "epohcs=1")
    assert code == 1
    assert "Did you mean 'epochs'" in err


def test_every_stage_takes_models_in_the_same_ways(
    run: Run, ask: Callable[..., Any], live: Live, data: tuple[str, str]
) -> None:
    folder = str(live.root / "tiny")
    sample = ask("jobs", "create", "sample", "--model", folder, "--model", folder, "--data", data[1])
    assert len(sample["inputs"]["models"]) == 2
    words = ("jobs", "create", "ppo", "--model", folder, "--data", data[1], "--reward-model", folder)
    one_sentence(run(*words), "names no registered model", "alias:NAME")
    words = ("jobs", "create", "sft", "--model", folder, "--model", folder, "--data", data[0])
    one_sentence(run(*words), "sft starts from one model, 2 were given")


def test_the_registry_is_read(ask: Callable[..., Any], run: Run, live: Live, data: tuple[str, str]) -> None:
    with live.at_work():
        run(*pipeline(data, live))
    policy = ask("models", "list", "--kind", "policy")[0]
    assert ask("models", "show", policy["id"])["kind"] == "policy"
    assert ask("models", "lineage", policy["id"])["nodes"][0]["id"] == policy["id"]
    code, out, _ = run("models", "lineage", policy["id"])
    assert code == 0
    assert f"made by: job ppo {policy['job_id']}" in out


def test_users_are_for_administrators(
    run: Run, ask: Callable[..., Any], live: Live, factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("users", "list")
    assert (code, "role admin" in err, f"makes a key at {live.url}/keys; set RANKLOOP_API_KEY" in err) == (
        1,
        True,
        True,
    )
    monkeypatch.setenv("RANKLOOP_API_KEY", live.key(Role.ADMIN, factory))
    assert {row["role"] for row in ask("users", "list")} == {"engineer", "admin"}
    assert all(row["pseudonym"] in run("users", "list")[1] for row in ask("users", "list"))  # what all else names
    assert "/join/" in ask("users", "invite", "--role", "annotator")["url"]


# ---------------------------------------------------------------- watching


def test_watching_goes_on_after_a_lost_connection(live: Live, factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is cut after two events; the rest comes on the next connection, none twice."""
    monkeypatch.setattr(client, "RECONNECT_SECONDS", 0.05)
    with live.sessions.begin() as session:
        factory(session).job()
        job = job_store.claim(session, "host:1", 60)
        assert job is not None
    live._run(job, fails=True)
    watcher = client.Client(client.Credentials(live.url, live.key(Role.REVIEWER, factory)))
    whole, asked = watcher._events, []

    def cut(job_id: str, last: int) -> Iterator[StreamedEvent]:
        asked.append(last)
        for count, event in enumerate(whole(job_id, last)):
            if count == 2 and len(asked) == 1:
                raise client.httpx.RemoteProtocolError("peer closed connection")
            yield event

    monkeypatch.setattr(watcher, "_events", cut)
    with watcher.http:
        events = list(watcher.events(str(job.id)))
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6, None]
    assert asked == [0, 2]


@pytest.mark.parametrize("failures", [1, 3])
def test_watching_outlasts_a_service_that_is_away_for_a_moment(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """Two tries in a row are allowed here: one 503 is got over, three end in the service's own sentence."""
    monkeypatch.setattr(client, "RECONNECT_SECONDS", 0.0)
    monkeypatch.setattr(client, "RECONNECTS", 2)
    answers = [client.httpx.Response(503, json={"detail": "Postgres is away."}) for _ in range(failures)]
    answers.append(client.httpx.Response(200, text="event: end\ndata: {}\n\n"))
    watcher = client.Client(client.Credentials("http://a", "rl_a"))
    watcher.http = client.httpx.Client(
        base_url="http://a", transport=client.httpx.MockTransport(lambda _: answers.pop(0))
    )
    if failures > 2:
        with pytest.raises(client.ClientError, match="Postgres is away"):
            list(watcher.events("x"))
    else:
        assert [event.type for event in watcher.events("x")] == ["end"]


def test_watch_shows_lines_where_there_is_no_terminal(run: Run, live: Live, factory: Any) -> None:
    with live.sessions.begin() as session:
        job = factory(session).job()
    with live.at_work():
        code, out, _ = run("jobs", "watch", str(job.id))
    assert code == 0
    assert out.splitlines()[:3] == ["sft: queued", "sft: starting", "sft: running"]
    assert "sft: on the CPU" in out
    assert "succeeded, model" in out.splitlines()[-1]


def test_the_bar_shows_stage_step_rate_time_left_and_metrics(
    live: Live, factory: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from annotation_api.cli.commands import watch

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with live.sessions.begin() as session:
        job = factory(session).job()
    live.work_off()
    reader = client.Client(client.Credentials(live.url, live.key(Role.ENGINEER, factory)))
    with reader.http:
        row = watch.watch(reader, str(job.id), as_json=False)
    out = capsys.readouterr().out
    assert row["state"] == JobState.SUCCEEDED
    for word in ("sft train", "1/1", "4/s", "0 s left", "loss 0.25"):
        assert word in out


def test_a_command_leaves_no_connection_open(run: Run) -> None:
    """What is left is closed when Python comes to it, with a warning in the midst of something else."""
    gc.collect()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        assert [run("jobs", "list")[0], run("jobs", "show", str(uuid.uuid4()))[0]] == [0, 1]
        gc.collect()
    assert [str(one.message) for one in left] == []


# ---------------------------------------------------------------- what goes wrong is one sentence


def one_sentence(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code != 0
    assert err.startswith("rankloop: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_no_service(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_URL", "http://127.0.0.1:9")
    one_sentence(run("jobs", "list"), "does not answer", "rankloop up")


def test_no_credentials(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKLOOP_URL")
    one_sentence(run("jobs", "list"), "No service is known", "RANKLOOP_URL")


def test_a_wrong_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_API_KEY", "rl_wrong")
    one_sentence(run("jobs", "list"), "API key")


def test_a_missing_file(run: Run) -> None:
    one_sentence(run("import", "nowhere.jsonl", "--as", "prompts"), "nowhere.jsonl")


def test_a_missing_model_folder(run: Run, data: tuple[str, str]) -> None:
    words = ("pipeline", "run", "--base", "no/such", "--demonstrations", data[0], "--preferences", data[1])
    one_sentence(run(*words), "no/such")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("jobs", "show", str(uuid.uuid4())), "no job"),
        (("jobs", "watch", str(uuid.uuid4())), "no job"),
        (("export", "planet:x"), "planet"),
        (("export", "x"), "neither an id nor a name among snapshots"),
        (("export", "x"), "A data set is dataset:NAME"),
        (("datasets", "show", "x"), "`rankloop datasets list` shows them"),
        (("pipeline", "show", "x"), "`rankloop pipeline list` shows them"),
        (("snapshots", "list", "--name", "x" * 201), "--name: "),
        (("jobs", "show", "x" * 201), "xx' is neither an id nor a name among jobs"),
        (("models", "register", "/etc"), "no folder /etc below an allowed root"),
    ],
)
def test_what_does_not_exist(run: Run, words: tuple[str, ...], said: str) -> None:
    one_sentence(run(*words), said)


def test_json_holds_the_error_too(run: Run) -> None:
    code, out, _ = run("jobs", "show", str(uuid.uuid4()), "--json")
    assert code == 1
    assert json.loads(out)["problem"]["type"] == "urn:rankloop:not-found"


# ---------------------------------------------------------------- without a service


def credentials(home: Path, **values: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "credentials.json").write_text(json.dumps(values))


def test_credentials_come_from_the_home_or_the_environment(tmp_path: Path) -> None:
    home = {"RANKLOOP_HOME": str(tmp_path)}
    credentials(tmp_path, url="http://a/", api_key="rl_a")
    assert client.find_credentials(home) == client.Credentials("http://a", "rl_a")
    (tmp_path / "key").write_text("rl_file\n")
    there = {"RANKLOOP_URL": "http://b", "RANKLOOP_API_KEY_FILE": str(tmp_path / "key")}
    assert client.find_credentials(home | there) == client.Credentials("http://b", "rl_file")


def test_a_local_key_is_never_sent_elsewhere(tmp_path: Path) -> None:
    credentials(tmp_path, url="http://a", api_key="rl_a")
    with pytest.raises(client.ClientError, match="RANKLOOP_API_KEY"):
        client.find_credentials({"RANKLOOP_HOME": str(tmp_path), "RANKLOOP_URL": "http://b"})


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(client.ClientError, match=r"credentials\.json cannot be used"):
        client.find_credentials({"RANKLOOP_HOME": str(tmp_path)})


def test_the_command_starts_without_any_heavy_library() -> None:
    code = (
        "import sys; from annotation_api import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        f"print([m for m in {(*sorted(house.HEAVY), 'pydantic', 'sqlalchemy', 'fastapi')} if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("", 2, "`rankloop --help` lists them"),
        ("models", 2, "`rankloop models --help` lists them"),
        ("imprt rows.jsonl", 2, "did you mean 'import'?"),
        ("jobs lst", 2, "did you mean 'list'?"),
        ("import rows.jsonl --as ranking", 2, "did you mean 'rankings'?"),
        ("zzz", 2, "invalid choice: 'zzz' (choose from "),
        ("--version", 0, "rankloop 0."),
    ],
)
def test_what_a_newcomer_types(typed: str, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(typed.split())
    assert stop.value.code == code
    said = capsys.readouterr()
    assert words in said.out + said.err


def test_help_says_which_commands_need_an_admin(capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ("users list", "users invite", "audit list", "audit verify"):
        with pytest.raises(SystemExit):
            main([*typed.split(), "--help"])
        assert "needs a key of the role admin" in capsys.readouterr().out
