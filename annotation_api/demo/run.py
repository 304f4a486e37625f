"""The demo from start to end: service up, base model, SFT, rankings, reward model, PPO, judgement, report."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from alignment.shared.records import Prompt, read_jsonl
from alignment.toyworld.people import Annotator
from alignment.toyworld.people import annotators as people_of
from alignment.toyworld.world import World, build_world
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.demo import annotators, judge
from annotation_api.demo.bars import LoopTime
from annotation_api.demo.client import DemoFailed, Engineer
from annotation_api.demo.memory import PeakMemory
from annotation_api.demo.report import write_report
from annotation_api.http.patience import Patient
from annotation_api.settings import Settings
from annotation_api.up import CannotStart, Service, failed, say_anyway, start_module

PRESET = "toy"
TASKS_PER_PROMPT = 2  # of K = 4 each: more different responses teach more than more opinions on the same
JUDGED_DRAWS = 3  # replies of each model to each held-out prompt
NEXT_ROUND = 24  # prompts whose new replies go back to the annotators
ADMIN = "admin@example.com"
GUIDELINES = "Best first; equals share a rank."
JOIN = "Annotators join"
BASE = "Base model from scratch"
SFT = "SFT on the demonstrations"
ANSWERS = "The SFT policy answers"
RANK = "Annotators rank"
REWARD = "Reward model on the rankings"
PPO = "PPO against the reward model"
JUDGED = "Base, SFT and policy are judged"
COMPARED = "Annotators compare the three"
QUEUED = "The policy's replies are queued"
PARTS = {  # seconds on two quiet cores without AVX-512
    JOIN: 1.0, BASE: 153.0, SFT: 17.0, ANSWERS: 59.0, RANK: 31.0, REWARD: 79.0, PPO: 122.0, JUDGED: 26.0, COMPARED: 5.0,
    QUEUED: 10.0
}  # fmt: skip


def main(out: Path, seed: int, as_json: bool = False, keep: bool = False) -> int:
    """Run the demo into the folder `out`; 0 only if the aligned policy beats the SFT policy.

    With `keep` the service runs on afterwards, for people to look at and to rank in, until it is stopped.
    `as_json` prints report.json and nothing else. The demo has a database and an address of its own, whatever
    the environment says; its stages run in plain processes unless RANKLOOP_EXECUTOR says "ray".
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the service is stopped in order, as on Ctrl-C
    console = Console(width=120, highlight=False, quiet=as_json)
    began = time.monotonic()
    os.environ.setdefault("RANKLOOP_EXECUTOR", "process")  # one machine, one job at a time: no Ray starts for each
    toy = out.resolve() / "toy"
    home = out.resolve() / f"home-{datetime.now():%Y%m%d-%H%M%S}"  # its own for each run: no earlier rows in the way
    try:
        home.mkdir(parents=True)
        shutil.rmtree(toy, ignore_errors=True)
        base = start_module("alignment", "toy", str(toy), "--seed", str(seed), log=home / "base.log")
    except OSError as error:
        return failed("demo", f"--out {out} cannot be written: {error.strerror or error}.", as_json)
    try:
        settings = Settings(home=home, model_roots=(toy,))
        with PeakMemory() as memory, Service(settings, "127.0.0.1", 0, say=console.print) as service:
            console.print(f"The service runs at {service.url}; its files are in {home}")
            demo = Demo(service, console, toy, base, seed)
            report = demo.run()
            report |= {"wall_seconds": round(time.monotonic() - began, 1), "peak_rss_mb": memory.megabytes}
            verdict = write_report(out, report)
            console.print(verdict.text)
            if as_json:
                say_anyway((out / "report.json").read_text())
            if keep:
                demo.keep()
    except (DemoFailed, CannotStart, DatabaseUnavailable) as reason:
        return failed("demo", str(reason), as_json)
    except KeyboardInterrupt:
        if not as_json:
            print("rankloop demo: stopped.", file=sys.stderr)
        return 130
    finally:
        base.kill()
        base.wait()
    return 0 if verdict.aligned else 1


@dataclass
class Demo:
    """One walk round the loop; the steps are in `run`, in the order of the README's drawing."""

    service: Service
    console: Console
    toy: Path
    base: subprocess.Popen[bytes]
    seed: int
    engineer: Engineer = field(init=False)
    world: World = field(init=False)
    project: str = ""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16))  # the admin's

    def run(self) -> dict[str, Any]:
        self.engineer = Engineer(
            self.service.url, self.service.api_key, self.console, self.service.tend, LoopTime(PARTS)
        )
        self.world = build_world(self.seed)
        team, password = people_of(self.world), secrets.token_urlsafe(16)
        self._join(team, password)
        self._wait_for_base()
        post, wait = self.engineer.post, self.engineer.wait

        # 1. What an engineer brings: a base model, demonstrations, prompts.
        base = post("/v1/models", {"name": "toy base", "path": str(self.toy / "base")})["id"]
        demonstrations = self.engineer.upload(self.toy / "demonstrations.jsonl", "demonstrations")
        prompts = self.engineer.upload(self.toy / "prompts.jsonl", "prompts")
        heldout = self.engineer.upload(self.toy / "heldout.jsonl", "prompts")
        self.project = post("/v1/projects", {"name": "Toy world", "guidelines": GUIDELINES})["id"]

        # 2. SFT; its policy answers the prompts, which makes the annotators' tasks.
        sft = self._job("sft", {"model": {"model": base}, "demonstrations": {"dataset": demonstrations}})
        asked = {"models": [{"job": sft}], "prompts": {"dataset": prompts}, "project": self.project}
        answers = self._job("sample", asked, {"tasks_per_prompt": TASKS_PER_PROMPT})
        done = {"sft": wait(sft, SFT)}
        wait(answers, ANSWERS)

        # 3. People rank; the rankings are frozen.
        rankings = self._rank(self.project, RANK, team, password)
        snapshot = post("/v1/snapshots", {"kind": "rankings", "project": self.project})

        # 4. Reward model, PPO, and the judged replies of base, SFT and policy.
        reward = self._job("reward", {"model": {"job": sft}, "rankings": {"snapshot": snapshot["id"]}})
        inputs = {"model": {"job": sft}, "reward_model": {"job": reward}, "prompts": {"dataset": prompts}}
        ppo = self._job("ppo", inputs)
        models = [{"model": base}, {"job": sft}, {"job": ppo}]
        draws = {"responses_per_prompt": JUDGED_DRAWS, "distinct": False}
        beside = post("/v1/projects", {"name": "Toy world, compared", "guidelines": GUIDELINES})["id"]
        judged = self._job("sample", {"models": models, "prompts": {"dataset": heldout}, "project": beside}, draws)
        done["reward"] = wait(reward, REWARD)
        done["ppo"] = wait(ppo, PPO)
        wait(judged, JUDGED)

        # 5. The annotators compare the three models, and the new policy's responses go back to them.
        self._rank(beside, COMPARED, team, password)
        returned = self._return_to_annotators(done["ppo"]["result"]["model"])
        models_by_id = {base: "base"} | {done[stage]["result"]["model"]: stage for stage in ("sft", "ppo")}
        looks = self.engineer.lines(f"/v1/jobs/{ppo}/artifacts/looks.jsonl")
        return self._figures(done, judged, models_by_id) | {
            "leaderboard": judge.standings(self._leaderboard(beside), models_by_id),
            "gold_by_update": judge.gold_by_update(self.world, map(json.loads, looks)),
            "seed": self.seed,
            "annotators": len(team),
            "rankings": rankings,
            "snapshot": {k: snapshot[k] for k in ("id", "sha256", "rows")},
            "next_round_tasks": returned,
        }

    def _job(self, stage: str, inputs: dict[str, Any], config: dict[str, Any] | None = None) -> str:
        settings = {"seed": self.seed, **(config or {})}
        body = {"stage": stage, "inputs": inputs, "preset": PRESET, "config": settings}
        return str(self.engineer.post("/v1/jobs", body)["id"])

    def _join(self, team: Sequence[Annotator], password: str) -> None:
        """Open the set-up link as the first admin, then invite the annotators."""
        assert self.service.setup_url, "a fresh service has a set-up link"
        token = self.service.setup_url.rsplit("/", 1)[-1]
        account = {"email": ADMIN, "name": "Demo admin", "password": self.password}
        with (
            self.engineer.bar(JOIN) as bar,
            httpx.Client(base_url=self.service.url, transport=Patient()) as admin,
        ):
            admin.post(f"/v1/invitations/{token}:accept", json=account).raise_for_status()
            for number, annotator in enumerate(team, 1):
                annotators.sign_up(admin, annotator, password)
                bar.update(number, len(team))

    def _wait_for_base(self) -> None:
        with self.engineer.bar(BASE) as bar:
            log = self.service.settings.home / "base.log"
            while self.base.poll() is None:
                self.service.tend()
                bar.update(*_step_of(log.read_text(errors="replace")))
                time.sleep(0.5)
        if self.base.returncode:
            raise DemoFailed(f"The base model could not be trained:\n{log.read_text(errors='replace')}")

    def _rank(self, project: str, title: str, team: Sequence[Annotator], password: str) -> int:
        tasks = self._tasks(project)
        done = itertools.count(1)
        with self.engineer.bar(title) as bar:
            return annotators.work_together(
                self.service.url, project, team, password, lambda: bar.update(next(done), tasks)
            )

    def _return_to_annotators(self, policy: str) -> int:
        """Queue the policy's own replies as new tasks; how many there are."""
        path = self.toy / "next.jsonl"
        with (self.toy / "prompts.jsonl").open() as source:
            path.write_text("".join(itertools.islice(source, NEXT_ROUND)))
        again = {"models": [{"model": policy}], "prompts": {"dataset": self.engineer.upload(path, "prompts")}}
        before = self._tasks(self.project)
        self.engineer.wait(self._job("sample", {**again, "project": self.project}), QUEUED)
        return self._tasks(self.project) - before

    def _leaderboard(self, project: str) -> dict[str, Any]:
        """With every ranking counted, whoever counts them."""
        while self.engineer.get(f"/v1/projects/{project}/agreement")["waiting"]:
            time.sleep(0.5)
        board: dict[str, Any] = self.engineer.get(f"/v1/leaderboard?project={project}")
        return board

    def keep(self) -> None:
        """Go on serving until Ctrl-C."""
        url = self.service.url
        self.console.print(f"The service goes on at {url}: sign in as {ADMIN} with the password {self.password}")
        self.console.print(f"Rank a task at {url}/projects/{self.project}, see the curves at {url}/jobs.")
        self.console.print("Stop with Ctrl-C.")
        try:
            while True:
                self.service.tend()
                time.sleep(0.5)
        except KeyboardInterrupt:
            self.console.print("Stopping ...")

    def _tasks(self, project: str) -> int:
        return int(self.engineer.get(f"/v1/projects/{project}")["progress"]["tasks"])

    def _figures(self, done: dict[str, Any], judged: str, names: dict[str, str]) -> dict[str, Any]:
        prompts = list(read_jsonl(self.toy / "heldout.jsonl", Prompt))
        rows = map(json.loads, self.engineer.lines(f"/v1/jobs/{judged}/artifacts/responses.jsonl"))
        replies = judge.grade_replies(self.world, prompts, rows, names)
        win = judge.win_rate(replies, "ppo", "sft")
        reward, ppo = done["reward"]["result"], done["ppo"]["result"]
        return {
            "stages": [
                stage_of(name, row, self.engineer.get(f"/v1/jobs/{row['id']}/attempts")) for name, row in done.items()
            ],
            "reward_accuracy": {
                "heldout": reward["metrics"]["heldout_accuracy"],
                "n": int(reward["metrics"]["heldout_pairs"]),
            },
            "gold": {
                name: self.world.gold_by_criterion((prompts[r.prompt], r.text) for r in replies if r.model == name)
                for name in ("base", "sft", "ppo")
            },
            "judged": judge.count_by_criterion(replies, "ppo"),
            "win_rate": {"ppo_vs_sft": win.rate, "ci95": [win.low, win.high], "n": win.n},
            "kl_to_sft": ppo["metrics"]["heldout_kl"],
            "details": {"reward": reward["details"], "ppo": ppo["details"]},
            "samples": judge.side_by_side(prompts, replies, ("base", "sft", "ppo")),
        }


def stage_of(name: str, row: dict[str, Any], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the report; `seconds`: what the attempts took together, as the page of the job says."""
    spans = [[datetime.fromisoformat(each[key]) for key in ("claimed_at", "ended_at")] for each in attempts]
    seconds = round(sum((ended - began).total_seconds() for began, ended in spans), 1)
    return {"stage": name, "job": row["id"], "model": row["result"]["model"], "seconds": seconds}


def _step_of(log: str) -> tuple[int, int | None, str]:
    """Where the base model's training is, by the last line that names a step: `pretrain 300/1500 loss 3.2 ...`."""
    last = log.strip()[-200:]
    found = list(re.finditer(r"(\d+)/(\d+)", last))
    return (int(found[-1][1]), int(found[-1][2]), last[-60:]) if found else (0, None, last[-60:])
