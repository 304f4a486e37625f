"""The demo under fire: SIGKILL of the dispatcher, the launcher and the actor, each in the middle of PPO.

    python -m tests.journey.kill_demo [--out runs/killed] [--seed 0]

Exits 0 if the demo still ends with 0 and the registry holds exactly one policy version. Not part of
`make test`: it takes as long as the demo and three restarts of PPO's stage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from annotation_api.settings import Settings
from annotation_api.up import Service

RANKLOOP = [sys.executable, "-c", "from annotation_api.cli import main; raise SystemExit(main())"]
TARGETS = ("dispatcher", "launcher", "actor")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/killed"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    before = set(options.out.glob("home-*"))
    demo = subprocess.Popen([*RANKLOOP, "demo", "--out", str(options.out), "--seed", str(options.seed)])
    try:
        home = wait_for(demo, lambda: next(iter(set(options.out.glob("home-*")) - before), None))
        service = wait_for(demo, lambda: credentials(home))
        for name in TARGETS:
            job = wait_for(demo, lambda: in_the_middle_of_ppo(service))
            victim = find(name, demo, job["id"])
            print(
                f"killing the {name} ({victim.pid}) in attempt {job['attempts']}, {job['progress']['step']}", flush=True
            )
            victim.kill()
            if name != "dispatcher":  # its launcher goes on; the other two end the attempt
                wait_for(demo, lambda: not in_the_middle_of_ppo(service))
        code = demo.wait()
    finally:
        demo.kill()
    policies = policy_versions(home)
    print(f"the demo ended with {code}; policy versions: {policies}")
    return 0 if code == 0 and policies == 1 else 1


def wait_for(demo: subprocess.Popen[bytes], evaluation: Callable[[], Any]) -> Any:
    """What `look` returns once it is true; the demo must still run."""
    while not (found := evaluation()):
        if demo.poll() is not None:
            raise SystemExit(f"the demo ended early with {demo.returncode}")
        time.sleep(0.2)
    return found


def credentials(home: Path) -> dict[str, str] | None:
    path = home / "credentials.json"
    return json.loads(path.read_text()) if path.exists() else None


def ppo_job(service: dict[str, str]) -> dict[str, Any] | None:
    headers = {"Authorization": f"Bearer {service['api_key']}"}
    items = httpx.get(f"{service['url']}/v1/jobs", params={"stage": "ppo"}, headers=headers).json()["items"]
    return items[0] if items else None


def in_the_middle_of_ppo(service: dict[str, str]) -> dict[str, Any] | None:
    """The running job, some updates after its start and before its end."""
    job = ppo_job(service)
    if job is None or job["state"] != "running":
        return None
    at = job["progress"] or {}
    return job if 2 <= at.get("step", 0) < at.get("total", 0) - 2 else None


def find(name: str, demo: subprocess.Popen[bytes], job: str) -> psutil.Process:
    """The process of that name. A launcher outlives its dispatcher, so it is looked for everywhere."""
    if name == "dispatcher":
        return next(p for p in psutil.Process(demo.pid).children() if p.cmdline()[1:] == ["-m", "workers"])
    launcher = next(p for p in psutil.process_iter() if job in command(p) and "workers.attempt.launcher" in command(p))
    if name == "launcher":
        return launcher
    return next(p for p in launcher.children(recursive=True) if " ".join(command(p)).startswith("ray::Stage"))


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def policy_versions(home: Path) -> int:
    """How many policies the registry holds, asked of the service started again on the same files."""
    settings = Settings.from_environment(os.environ | {"RANKLOOP_HOME": str(home)})
    with Service(settings, "127.0.0.1", 0) as service:
        headers = {"Authorization": f"Bearer {service.api_key}"}
        models = httpx.get(f"{service.url}/v1/models", headers=headers).json()["items"]
    return sum(model["kind"] == "policy" for model in models)


if __name__ == "__main__":
    sys.exit(main())
