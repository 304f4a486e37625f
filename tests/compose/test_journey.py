"""docker-compose.yml from empty volumes to a policy, and its data in new volumes: every line of it at work."""

from __future__ import annotations

import os
import subprocess
import time
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


def long_job(running: Running) -> str:
    """The path of a job that is at work, and will be for long."""
    admin = running.admin
    inputs = {"model": running.base(), "demonstrations": admin.upload("demonstrations")}
    config = {"batch_size": 8, "micro_batch_size": 4, "max_length": 48, "save_every": 5, "epochs": 500.0}
    made = admin.post("/v1/jobs", {"stage": "sft", "inputs": inputs, "config": config, "gpus": 0})
    path = f"/v1/jobs/{made['id']}"
    admin.wait(path, "running", until=lambda row: (row["saved_step"] or 0) >= 5)
    return path


def stop_while_somebody_watches(running: Running, job: str) -> dict[str, float]:
    """The seconds until each service had ended."""
    with running.admin.http as http, http.stream("GET", f"{job}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        took = running.stack.stop()
        with pytest.raises(httpx.HTTPError):
            list(lines)
    return took


def test_all_ends_in_seconds_and_a_backup_becomes_a_service_in_new_volumes(running: Running) -> None:
    """Though a job is at work, and somebody watches it; it goes on in the new volumes. The old ones stay."""
    admin, stack, job = running.admin, running.stack, long_job(running)
    before, old = admin.get("/v1/models"), stack.volume("home")
    running.docker.shell(running.lines["backup"])
    there = files_of(old)
    took = stop_while_somebody_watches(running, job)
    print(f"seconds until each had ended: { {name: round(seconds, 1) for name, seconds in took.items()} }")
    assert took["api"] < 8
    assert took["dispatcher"] < 40
    assert took["db"] < 10
    assert told_by_the_database(running, job) == "queued|", "it gave its job back"

    (backup,) = (stack.project / "backups").iterdir()
    assert backup.stat().st_size > 10_000
    running.docker.shell(running.lines["restore"].replace("2026-01-31", backup.stem))
    with (stack.project / ".env").open("a") as settings:
        settings.write("COMPOSE_PROJECT_NAME=rankloop-restored\n")
    admin.wait_ready()
    assert admin.get("/v1/models") == before
    assert stack.volume("home") != old
    kept = {name: owner for name, owner in there.items() if name.split("/")[0] in ("artifacts", "models")}
    assert {name: owner for name, owner in files_of(stack.volume("home")).items() if name in kept} == kept
    assert files_of(old).keys() >= kept.keys()
    row = admin.wait(job, "running", until=lambda row: (row["progress"] or {}).get("step", 0) > 5)
    assert row["epoch"] == 2, "from its checkpoint"
    admin.post(f"{job}:cancel", {})


def told_by_the_database(running: Running, job: str) -> str:
    """How the job's first attempt ended: outcome and error."""
    running.stack.up("db")
    box = running.stack.containers["db"].box
    assert box
    ask = f"SELECT outcome, error FROM job_attempts WHERE job_id = '{job.rpartition('/')[2]}' AND epoch = 1"
    asked = ["psql", "-U", "postgres", "-d", "rankloop", "-At", "-c", ask]
    return box.execute(asked, stdout=subprocess.PIPE).stdout.decode().strip()


def test_what_all_of_it_used(running: Running) -> None:
    """Within the bounds of the file; the figures are for docs/deploy.md."""
    print(f"the journey took {time.monotonic() - running.began:.0f} s; load average {os.getloadavg()[0]:.1f}")
    for name, container in running.stack.containers.items():
        group = running.stack.group(name)
        print(f"{name}: {group.peak / 2**20:.0f} MiB at most, {group.cpu_seconds:.1f} s of CPU")
        assert container.service.mem_limit is None or group.peak <= container.service.mem_limit
    volumes = running.stack.folder / "volumes"
    for folder in sorted(volumes.glob("*/*")):
        size = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
        print(f"volume {folder.relative_to(volumes)}: {size / 2**20:.0f} MiB")
