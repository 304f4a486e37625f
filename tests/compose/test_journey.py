"""docker-compose.yml from empty volumes to a policy, and its data in new volumes: every line of it at work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests.compose.people import Running, files_of

pytestmark = [pytest.mark.postgres, pytest.mark.ray]


def test_it_comes_up_from_nothing(running: Running) -> None:
    assert running.admin.ready() == ("ok", "ok", "up")


def test_three_stages_run_over_rest_on_a_model_that_was_brought_in(running: Running) -> None:
    pipeline = running.pipeline()
    done = running.admin.wait(pipeline, "succeeded")
    for job in done["jobs"]:
        (attempt,) = running.admin.get(f"/v1/jobs/{job['id']}/attempts")
        assert attempt["outcome"] == "succeeded"
        log = (running.stack.volume("home") / "logs" / f"{job['id']}-1.log").read_text()
        assert "not a writable" not in log
    assert {model["kind"] for model in running.admin.get("/v1/models")["items"]} == {"base", "sft", "reward", "policy"}
    assert set(files_of(running.stack.volume("home")).values()) == {10001}


def test_each_service_has_what_it_needs_and_no_more(running: Running) -> None:
    for name, container in running.stack.containers.items():
        if container.box is None or name == "db":
            continue
        status = Path(f"/proc/{container.box.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == ["10001"] * 4, name
        assert {facts[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}, name
        assert facts["NoNewPrivs"] == "1", name
        for path in ("/probe", "/opt/probe", "/home/rankloop/probe", "/etc/probe", "/dev/probe"):
            assert container.box.execute(["touch", path], stderr=subprocess.DEVNULL).returncode != 0, (name, path)
        assert container.box.execute(["sh", "-c", "touch /tmp/probe && rm /tmp/probe"]).returncode == 0, name


def test_the_database_knows_the_service_as_an_ordinary_role(running: Running) -> None:
    box = running.stack.containers["db"].box
    assert box
    ask = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolcanlogin ORDER BY 1"
    told = box.execute(["psql", "-U", "postgres", "-At", "-c", ask], stdout=subprocess.PIPE).stdout
    assert told.decode().split() == ["postgres|t|t|t", "rankloop|f|f|f"]
    secret = (running.stack.project / "secrets" / "postgres_password").read_text().strip()
    by_network = ["psql", f"postgresql://postgres:{secret}@db/postgres", "-c", "SELECT 1"]
    assert box.execute(by_network, stdout=subprocess.PIPE, stderr=subprocess.PIPE).returncode != 0


def test_a_backup_becomes_a_service_in_new_volumes(running: Running) -> None:
    """And the old ones stay as they are."""
    admin, stack = running.admin, running.stack
    before = admin.get("/v1/models")
    old = stack.volume("home")
    there = files_of(old)
    running.docker.shell(running.lines["backup"])
    (backup,) = (stack.project / "backups").iterdir()
    assert backup.stat().st_size > 10_000
    running.docker.shell(running.lines["restore"].replace("2026-01-31", backup.stem))
    with (stack.project / ".env").open("a") as settings:
        settings.write("COMPOSE_PROJECT_NAME=rankloop-restored\n")
    admin.wait_ready()
    assert admin.get("/v1/models") == before
    assert stack.volume("home") != old
    kept = {
        name: owner for name, owner in there.items() if name.split("/")[0] in ("artifacts", "checkpoints", "models")
    }
    assert {name: owner for name, owner in files_of(stack.volume("home")).items() if name in kept} == kept
    assert files_of(old).keys() >= kept.keys()


def test_every_service_ends_in_seconds_though_somebody_watches_a_job(running: Running) -> None:
    admin = running.admin
    base = running.base()
    body = {
        "stage": "sft",
        "inputs": {"model": base, "demonstrations": admin.upload("demonstrations")},
        "config": {"batch_size": 8, "micro_batch_size": 4, "max_length": 48, "epochs": 500.0},
        "gpus": 0,
    }
    job = f"/v1/jobs/{admin.post('/v1/jobs', body)['id']}"
    admin.wait(job, "running", until=lambda row: (row["progress"] or {}).get("step", 0) >= 3)
    with admin.http as http, http.stream("GET", f"{job}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        took = running.stack.stop()
        with pytest.raises(httpx.HTTPError):
            list(lines)
    print(f"seconds until each had ended: { {name: round(seconds, 1) for name, seconds in took.items()} }")
    running.docker.shell("docker compose up -d")
    admin.wait_ready()
    admin.wait(job, "running")
    ended = [attempt for attempt in admin.get(f"{job}/attempts") if attempt["outcome"]]
    assert [(attempt["outcome"], attempt["error"]) for attempt in ended] == [("queued", None)], "it gave its job back"
    admin.post(f"{job}:cancel", {})
    assert took["api"] < 8
    assert took["dispatcher"] < 40
    assert took["db"] < 10


def test_what_each_service_used(running: Running) -> None:
    """Within the bounds of the file; the figures are for docs/deploy.md."""
    for name, container in running.stack.containers.items():
        group = running.stack.group(name)
        print(f"{name}: {group.peak / 2**20:.0f} MiB at most, {group.cpu_seconds:.1f} s of CPU")
        assert container.service.mem_limit is None or group.peak <= container.service.mem_limit
