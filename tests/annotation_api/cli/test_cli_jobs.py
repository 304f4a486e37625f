"""`rankloop jobs` and `rankloop pipeline` beyond creating: pause, history, log, estimates, waiting."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alignment.shared.events import SavedCheckpoint
from annotation_api.cli import client
from annotation_api.cli.commands import estimate, watch
from annotation_api.cli.streamed import StreamedEvent
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Job, Role
from tests.annotation_api.cli.test_cli import Live, Run, ask, data, live, pipeline, run
from tests.support.evaluations import evaluated, prefers, running_ppo

__all__ = ["ask", "data", "live", "run"]  # fixtures

Ask = Callable[..., Any]


@pytest.fixture
def running(live: Live, factory: Any) -> Job:
    """A job at work that has saved a checkpoint at step 5."""
    with live.sessions.begin() as session:
        factory(session).job()
        job = job_store.claim(session, "host:1", 60)
        assert job is not None
        job_store.mark_running(session, job.id, job.epoch)
        saved = SavedCheckpoint("1/checkpoint-5", 5, "ab" * 32, 2_500_000, 0.25)
        job_store.record_checkpoint(session, job.id, job.epoch, saved)
    return job


def test_a_job_is_paused_and_goes_on(run: Run, ask: Ask, live: Live, running: Job) -> None:
    key = str(running.id)
    for _ in range(2):
        code, out, _ = run("jobs", "pause", key)
        assert (code, "is running and is asked to pause" in out) == (0, True)
    with live.sessions.begin() as session:
        job_store.mark_paused(session, running.id, running.epoch)
    assert ask("jobs", "pause", key)["state"] == "paused"
    assert ask("jobs", "resume", key)["state"] == "queued"
    code, _, err = run("jobs", "pause", str(key))
    assert (code, err) == (0, "")
    assert ask("jobs", "list", "--state", "paused", "--state", "running")[0]["id"] == key


def test_attempts_log_and_checkpoints_are_shown(run: Run, ask: Ask, live: Live, running: Job) -> None:
    key = str(running.id)
    with live.sessions.begin() as session:
        failure = Failure(ErrorKind.CRASH, "The actor died.", log="first line\nlast line\n")
        job_store.fail(session, running.id, running.epoch, failure, Again.CRASH)
    _, out, _ = run("jobs", "attempts", key)
    assert out.splitlines()[0].split()[:3] == ["epoch", "outcome", "worker"]
    assert "The actor died." in out.splitlines()[1]
    (row,) = ask("jobs", "attempts", key)
    assert (row["epoch"], row["outcome"], row["error"]["kind"]) == (1, "queued", "crash")
    code, out, _ = run("jobs", "log", key, "--lines", "1")
    assert (code, out) == (0, "last line\n")
    assert ask("jobs", "log", key, "--attempt", "1")["lines"] == ["first line", "last line"]
    code, _, err = run("jobs", "log", key, "--attempt", "7")
    assert (code, "no attempt 7" in err) == (1, True)
    _, out, _ = run("jobs", "checkpoints", key)
    assert "2.5 MB" in out.splitlines()[1]
    assert ask("jobs", "checkpoints", key)[0]["name"] == "1/checkpoint-5"


def test_the_human_win_rate_is_a_table(run: Run, ask: Ask, live: Live, factory: Any) -> None:
    """A win and a tie on two prompts: 0.75; of an update that nobody has judged nothing is known."""
    with live.sessions.begin() as session:
        make = factory(session)
        job = running_ppo(session, make, make.project())
        first, second = evaluated(session, job, 8, ("on the hill", "the miller"))
        make.submission(first, prefers(session, first, 8))
        make.submission(second, [[0, 1]])
        evaluated(session, job, 16, ("at sea",))
    rows = ask("jobs", "wins", str(job.id))
    assert [(row["update"], row["rate"], row["waiting"]) for row in rows] == [(8, 0.75, 0), (16, None, 1)]
    _, out, _ = run("jobs", "wins", str(job.id))
    head, judged, waiting = (line.split() for line in out.splitlines())
    assert head[:4] == ["update", "score", "kl", "rate"]
    assert judged == ["8", "2.000", "0.500", "0.750", "0.236", "0.935", "1", "1", "0", "0", "2", "0"]
    assert waiting[:6] == ["16", "2.000", "0.500", "-", "-", "-"]


def test_a_project_is_named_for_ppo_and_refused_elsewhere(
    run: Run, ask: Ask, live: Live, data: tuple[str, str]
) -> None:
    base = ask("models", "register", str(live.root / "tiny"), "--name", "tiny")["id"]
    nowhere = str(uuid.UUID(int=1))
    code, out, err = run("jobs", "create", "sft", "--model", base, "--data", data[0], "--project", nowhere)
    assert (code, "/inputs/project" in out + err) == (1, True)
    code, out, err = run(*pipeline(data, live), "--detach", "--project", nowhere)
    assert (code, "There is no such project." in out + err) == (1, True)


def test_an_untried_job_has_no_log(run: Run, live: Live, factory: Any) -> None:
    with live.sessions.begin() as session:
        job = factory(session).job()
    code, out, err = run("jobs", "log", str(job.id))
    assert (code, out, err) == (0, "", "Nothing was written yet.\n")


def test_mine_are_not_everybodys(ask: Ask, live: Live, factory: Any) -> None:
    with live.sessions.begin() as session:
        factory(session).job()
    assert len(ask("jobs", "list")) == 1
    assert ask("jobs", "list", "--mine") == []
    assert ask("pipeline", "list", "--mine") == []


def test_a_pipeline_is_listed_stopped_and_taken_up(
    run: Run,
    ask: Ask,
    live: Live,
    data: tuple[str, str],
) -> None:
    made = ask(*pipeline(data, live), "--detach")["pipeline"]
    _, out, _ = run("pipeline", "list", "--mine")
    assert out.splitlines()[1].split()[:6] == [made, "-", "queued", "queued", "blocked", "blocked"]
    stopped = ask("pipeline", "cancel", made)
    assert [stage["state"] for stage in stopped["stages"]] == ["cancelled"] * 3
    assert ask("pipeline", "cancel", made) == stopped
    again = ask("pipeline", "resume", made)
    assert [stage["state"] for stage in again["stages"]] == ["queued", "blocked", "blocked"]
    assert ask("pipeline", "show", made) == again


def test_validate_says_it_in_words(run: Run, ask: Ask, live: Live, data: tuple[str, str]) -> None:
    base = ask("models", "register", str(live.root / "tiny"), "--name", "tiny")["id"]
    words = ("jobs", "create", "sft", "--model", base, "--data", data[0], "--validate")
    code, out, _ = run(*words, "--gpus", "2")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "This job can be made: 5 records, 1 step."
    assert "GPUs: 2." in lines
    assert "Memory: unknown." in lines  # the folder's config.json says nothing of its width
    assert any(line.startswith("learning_rate") and "1e-05" in line for line in lines)
    code, out, _ = run(*words, "--set", "epochz=1")
    assert (code, out.startswith("/config/epochz: "), "Did you mean 'epochs'" in out) == (1, True, True)
    code, _, err = run(*words, "--gpus", "1.5")
    assert (code, "neither a part of one GPU nor a whole number" in err) == (1, True)


def test_validate_registers_nothing_and_a_folder_becomes_one_model(
    run: Run, ask: Ask, live: Live, data: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(live.root)
    words = ("jobs", "create", "sft", "--model", "tiny", "--data", data[0])
    code, _, err = run(*words, "--validate")
    assert (code, "register it first: rankloop models register tiny" in err) == (1, True)
    assert ask("models", "list") == []
    code, _, err = run("jobs", "create", "sft", "--model", "tiny", "--data", "nowhere")
    assert (code, "'nowhere' is neither an id nor a name" in err) == (1, True)
    nowhere = ("--demonstrations", "nowhere", "--preferences", data[1])
    assert run("pipeline", "run", "--base", "tiny", *nowhere)[0] == 1
    assert ask("models", "list") == []  # what is refused leaves none behind
    for path in ("tiny", "./tiny", str(live.root / "tiny"), "tiny"):
        ask("jobs", "create", "sft", "--model", path, "--data", data[0])
    assert len(ask("models", "list")) == 1
    assert ask(*words, "--validate")["ok"]
    assert len(ask("models", "list")) == 1


def test_an_estimate_is_told_with_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    memory = {"weights": 4e9, "gradients": 4e9, "optimizer": 8e9, "activations": 500e6, "total": 16.5e9}
    memory |= {"host": 12e9, "judge_apart": 2e9}
    found = {"config": {}, "rows": 1200, "steps": 40, "gpus": 0.5, "disk_bytes": 26e9, "artifact_bytes": 2e9}
    estimate.print_estimate({"ok": True, "estimate": found | {"checkpoint_bytes": 12e9, "memory": memory}})
    out = capsys.readouterr().out
    assert "1,200 records, 40 steps." in out
    assert "Disk: 26.0 GB (result 2.0 GB, three checkpoints of 12.0 GB)." in out
    assert (
        "about 16.5 GB on the device (weights 4.0 GB, gradients 4.0 GB, optimizer 8.0 GB, activations 500.0 MB); "
        "12.0 GB in the host's memory for copies." in out
    )
    assert "of it 2.0 GB since the reward model is no adapter on this policy's base: trained with lora" in out


# ---------------------------------------------------------------- waiting


NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


def row(**fields: Any) -> dict[str, Any]:
    empty = {"needs": [], "not_before": None, "reason": None, "reason_since": None, "reason_detail": None}
    return {"state": "starting", **empty, **fields}


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"reason": "waiting_gpu", "reason_since": ago(125), "reason_detail": "all 4 GPUs are taken"},
            "waiting for a GPU for 2 min 5 s: all 4 GPUs are taken",
        ),
        ({"reason": "loading", "reason_since": ago(3)}, "loading for 3 s"),
        ({"state": "blocked", "needs": ["a", "b"]}, "waits for a, b"),
        ({"state": "queued", "not_before": ago(-61)}, "is tried again in 1 min 1 s"),
        ({"state": "queued", "not_before": ago(5)}, ""),
        ({"state": "running"}, ""),
    ],
)
def test_what_a_job_waits_for_and_how_long(fields: dict[str, Any], words: str) -> None:
    assert watch.waits(row(**fields), NOW) == words


def test_the_bar_says_what_it_waits_for(
    live: Live,
    factory: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The stream brings the reason; then the job is cancelled, which ends it."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with live.sessions.begin() as session:
        factory(session).job()
        job = job_store.claim(session, "host:1", 60)
        assert job is not None
        job_store.set_starting_reason(session, job.id, job.epoch, "waiting_gpu", "1 of 1 GPUs is taken")
    reader = client.Client(client.Credentials(live.url, live.key(Role.ENGINEER, factory)))
    whole = reader.events

    def until_it_waits(key: str, lost: Callable[[], None]) -> Any:
        for event in whole(key, lost):
            yield event
            if event.data.get("reason"):
                with live.sessions.begin() as session:
                    job_store.fail(session, job.id, job.epoch, Failure(ErrorKind.INFEASIBLE, "No."), Again.NEVER)

    monkeypatch.setattr(reader, "events", until_it_waits)
    with reader.http:
        watch.watch(reader, str(job.id), as_json=False)
    out = capsys.readouterr().out
    assert "sft: starting (waiting for a GPU: 1 of 1 GPUs is taken)" in out
    assert re.search(r"waiting for a GPU for \d+ s: 1 of 1 GPUs is taken", out)


def test_news_are_told_in_words() -> None:
    saved = {"name": "1/checkpoint-5", "step": 5, "sha256": "", "size": 1200, "seconds": 0.5}
    assert watch._news(StreamedEvent(1, "checkpoint", saved)) == "saved 1/checkpoint-5 (1.2 kB, 0.5 s)"
    queued = {"state": "queued", "error": {"cause": "The actor died."}}
    assert watch._news(StreamedEvent(1, "state", queued)) == "queued: The actor died."
    assert watch._news(StreamedEvent(1, "samples", {"rows": []})) == ""


def test_what_is_labelled_is_found_by_it(run: Run, ask: Ask, live: Live, data: tuple[str, str]) -> None:
    made = ask(*pipeline(data, live), "--detach", "--name", "third", "--tag", "toy")["pipeline"]
    snapshot = ask("export", f"dataset:{data[0]}")["snapshot"]["id"]
    named = {"job": "third sft", "pipeline": "third", "model": "tiny", "dataset": data[0], "snapshot": snapshot}
    for kind, thing in named.items():
        listing = ("pipeline" if kind == "pipeline" else f"{kind}s", "list")
        ask("label", kind, thing, "--tag", "kept", "--name", f"my {kind}")
        (row,) = ask(*listing, "--tag", "kept")
        assert ask(*listing, "--name", f"my {kind}") == [row]
        assert ask(*listing, "--name", f"my {kind}", "--tag", "other") == []
        assert f"my {kind} kept" in " ".join(run(*listing)[1].split())
        assert ask(listing[0], "show", f"my {kind}")["name"] == f"my {kind}"
    assert ask("pipeline", "show", "my pipeline")["pipeline"] == made


def test_a_pipeline_is_tried_dry(run: Run, ask: Ask, live: Live, data: tuple[str, str]) -> None:
    code, _, err = run(*pipeline(data, live), "--validate")
    assert (code, "register it first: rankloop models register" in err) == (1, True)
    ask("models", "register", str(live.root / "tiny"), "--name", "tiny")
    code, out, _ = run(*pipeline(data, live), "--validate")
    assert code == 0
    assert [line for line in out.splitlines() if line in ("sft:", "reward:", "ppo:")] == ["sft:", "reward:", "ppo:"]
    assert set(ask(*pipeline(data, live), "--validate")["estimates"]) == {"sft", "reward", "ppo"}
    code, out, _ = run(*pipeline(data, live), "--validate", "--set", "ppo.updates=0")
    assert (code, out.startswith("/config/ppo/updates: ")) == (1, True)
    assert ask("jobs", "list") == ask("pipeline", "list") == []
