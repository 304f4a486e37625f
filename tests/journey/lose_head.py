"""The head of a Ray cluster is killed in the middle of PPO: the API must not notice and the pipeline must finish.

    python -m tests.journey.lose_head

A head as `ray start` runs it, started again a while after it died, as a supervisor would; a pipeline of three
stages on it; somebody who reads pages and ranks in the meantime. Prints what was seen; exits 1 if a request got a 5xx
or the pipeline did not succeed by itself. Some minutes.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.journey.rig import COMMON, PPO, Rig

PORT = 26381
DOWN_SECONDS = 15.0  # how long there is no head
PATHS = ("/v1/jobs", "/v1/models", "/v1/projects", "/readyz", "/v1/datasets")


class Head:
    """`ray start --head`, killed and started again."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={PORT}", "--num-cpus=2"]
        command += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", "--block", "--disable-usage-stats"]
        self._process = subprocess.Popen(
            [*command, f"--temp-dir={self._folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """SIGKILL for the head and all that it started, at once: the machine under it is gone."""
        whole = psutil.Process(self._process.pid).children(recursive=True)
        for process in [psutil.Process(self._process.pid), *whole]:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(whole, timeout=20)
        self._process.wait()


class Reader(threading.Thread):
    """Asks the API all the time and counts what it says."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self.seen: Counter[int] = Counter()
        self.slowest, self.degraded = 0.0, 0
        self._url, self._key, self._done = url, key, threading.Event()

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=30) as http:
            while not self._done.wait(0.1):
                for path in PATHS:
                    began = time.monotonic()
                    answer = http.get(path)
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.seen[answer.status_code] += 1
                    self.degraded += path == "/readyz" and answer.json().get("status") == "degraded"

    def stop(self) -> None:
        self._done.set()
        self.join()


def main() -> int:
    with cluster() as head, Rig() as rig:
        reader = Reader(rig.service.url, rig.service.api_key)
        reader.start()
        common = COMMON | {"save_every": 1}
        pipeline = rig.post(
            "/v1/pipelines",
            {
                "model": rig.base,
                "demonstrations": rig.data["demonstrations"],
                "preferences": rig.data["rankings"],
                "gpus": 0,
                "config": {"sft": common, "reward": common, "ppo": common | PPO | {"updates": 60}},
            },
        )
        ppo = pipeline["jobs"][-1]["id"]
        row = rig.wait(ppo, step=15)
        print(f"PPO is at update {row['progress']['step']}; killing the head", flush=True)
        killed = time.monotonic()
        head.kill()
        time.sleep(DOWN_SECONDS)
        head.start()
        print(f"a new head after {time.monotonic() - killed:.0f} s", flush=True)
        back = rig.wait(ppo, step=16)
        print(f"PPO runs again after {time.monotonic() - killed:.0f} s: {back['state']}", flush=True)
        rig.wait(ppo)
        reader.stop()
        state = rig.get(f"/v1/pipelines/{pipeline['id']}")["state"]
        attempts = [(a["outcome"], (a["error"] or {}).get("kind")) for a in rig.get(f"/v1/jobs/{ppo}/attempts")]
    print(f"the pipeline {state}; PPO's attempts: {attempts}")
    print(f"the API: {dict(reader.seen)}, slowest answer {reader.slowest:.2f} s, degraded {reader.degraded} times")
    return 0 if state == "succeeded" and not any(status >= 500 for status in reader.seen) else 1


@contextmanager
def cluster() -> Iterator[Head]:
    """A head, and an environment in which the service finds it."""
    given = {"RANKLOOP_RAY_ADDRESS": f"127.0.0.1:{PORT}", "RANKLOOP_EXECUTOR": "ray"}
    os.environ.update(given | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    with tempfile.TemporaryDirectory(prefix="rl-head-", dir="/tmp") as folder:
        head = Head(folder)
        head.start()
        try:
            yield head
        finally:
            head.kill()


if __name__ == "__main__":
    sys.exit(main())
