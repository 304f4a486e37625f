"""From an empty home to an aligned toy policy by the pages alone, in a real Chromium; then two PPO runs compared.

    python -m tests.support.runs.pages_alone OUT --world WORLD [--seed 0]

WORLD: what `python -m alignment toy` has left, base model and all. The admin only clicks and types; the toy world's
people rank over HTTP, as their form would. OUT gets a picture of each step, for looking at; a JSON line says how long
each step took and what the comparison shows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from alignment.toyworld.people import annotators as people_of
from alignment.toyworld.world import build_world
from annotation_api.demo.annotators import sign_up, work_together
from annotation_api.settings import Settings
from annotation_api.up import Service
from tests.support.live import chromium

PASSWORD = "four plain words here"
ADMIN = "admin@example.org"
JOB_MINUTES = 20.0


class Walk:
    """The admin's browser."""

    def __init__(self, page: Page, out: Path, seed: int) -> None:
        self.page, self.out, self.seed = page, out, seed
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Timed, and pictured at its end."""
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        self.page.screenshot(path=self.out / f"{len(self.seconds):02d}-{name}.png", full_page=True)

    def go(self, path: str) -> None:
        """A page, all that is folded on it unfolded."""
        self.page.goto(path)
        self.page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")

    def press(self, name: str) -> None:
        """A button, by the beginning of its words."""
        self.page.get_by_role("button", name=re.compile(f"^{name}")).first.click()

    def become_admin(self, link: str) -> None:
        self.go(link)
        for name, value in {"name": "Ada", "email": ADMIN, "password": PASSWORD}.items():
            self.page.fill(f'[name="{name}"]', value)
        self.press("Make my account")
        expect(self.page.get_by_role("heading", name="Projects")).to_be_visible()

    def register(self, folder: Path) -> None:
        self.go("/models/new")
        self.page.fill('[name="path"]', str(folder))
        self.page.fill('[name="name"]', "toy base")
        self.press("Register")
        expect(self.page.get_by_role("link", name="toy base").first).to_be_visible()

    def bring(self, file: Path, kind: str) -> None:
        self.go("/datasets")
        self.page.set_input_files('[name="file"]', file)
        self.page.select_option('[name="kind"]', kind)
        self.press("Upload and look")
        self.press("Import ")
        self.page.wait_for_url(re.compile(r"/datasets/[0-9a-f-]{36}$"))

    def make_project(self, name: str) -> str:
        self.go("/projects/new")
        self.page.fill('[name="name"]', name)
        self.press("Make the project")
        self.page.wait_for_url(re.compile(r"/projects/[0-9a-f-]{36}"))
        return self.page.url.rsplit("/", 1)[-1].partition("?")[0]

    def start(self, stage: str, name: str, inputs: dict[str, str], settings: dict[str, str] | None = None) -> None:
        """A job by its form, to its end."""
        self.go(f"/jobs/new?stage={stage}&preset=toy")
        for field, label in inputs.items():
            choice = self.page.locator(f'[name="in.{field}"] option', has_text=re.compile(label)).first
            self.page.select_option(f'[name="in.{field}"]', choice.get_attribute("value"))
        self.page.fill('[name="name"]', name)
        for field, value in {"seed": str(self.seed), **(settings or {})}.items():
            self.page.fill(f'[name="set.{field}"]', value)
        self.press("Start the job")
        self.page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
        state = self.page.locator("#live .state").first
        expect(state).to_have_text(re.compile("succeeded|failed|cancelled"), timeout=JOB_MINUTES * 60_000)
        expect(state).to_have_text("succeeded")

    def freeze(self, project: str) -> None:
        self.go(f"/snapshots?project={project}")
        choice = self.page.locator('[name="source"] option', has_text="Toy world").first
        self.page.select_option('[name="source"]', choice.get_attribute("value"))
        self.page.select_option('[name="kind"]', "rankings")
        self.press("Freeze")
        self.page.wait_for_url(re.compile(r"/snapshots/[0-9a-f-]{36}"))

    def compare_jobs(self, *names: str) -> str:
        self.go("/compare")
        jobs = self.page.locator("form", has=self.page.locator('[name="job"]'))  # models are called as their jobs
        for name in names:
            jobs.get_by_label(name).check()
        self.press("Compare these jobs")
        self.page.wait_for_url(re.compile(r"/compare\?job="))
        return self.page.locator("main").inner_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RANKLOOP_EXECUTOR", "process")
    world = args.world.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="pages-alone-") as home,
        chromium() as browser,
        Service(Settings(home=Path(home), model_roots=(world,)), "127.0.0.1", 0, say=lambda _: None) as service,
    ):
        Path(home).chmod(0o755)
        context = browser.new_context(base_url=service.url, viewport={"width": 1440, "height": 900})
        walk = Walk(context.new_page(), args.out, args.seed)
        shown = loop(walk, service, world)
        context.close()
    print(json.dumps({"seconds": walk.seconds, "compared": shown}, ensure_ascii=False))


def loop(walk: Walk, service: Service, world: Path) -> str:
    """The whole way; what the comparison of the two runs says."""
    with walk.step("admin"):
        assert service.setup_url
        walk.become_admin(service.setup_url)
    with walk.step("base"):
        walk.register(world / "base")
    with walk.step("data"):
        walk.bring(world / "demonstrations.jsonl", "demonstrations")
        walk.bring(world / "prompts.jsonl", "prompts")
    with walk.step("project"):
        project = walk.make_project("Toy world")
    with walk.step("sft"):
        walk.start("sft", "first sft", {"model": "toy base", "demonstrations": "demonstrations"})
    with walk.step("answers"):
        inputs = {"models": "sft-", "prompts": "prompts", "project": "Toy world"}
        walk.start("sample", "answers", inputs, {"tasks_per_prompt": "2"})
    with walk.step("ranked"):
        rank(service.url, project, walk.seed)
        walk.go(f"/projects/{project}")
    with walk.step("frozen"):
        walk.freeze(project)
    with walk.step("reward"):
        walk.start("reward", "first reward", {"model": "sft-", "rankings": "Toy world"})
    inputs = {"model": "sft-", "reward_model": "reward-", "prompts": "prompts"}
    with walk.step("ppo"):
        walk.start("ppo", "first ppo", inputs)
    with walk.step("ppo-again"):
        walk.start("ppo", "second ppo", inputs, {"kl_coef": "0.05"})
    with walk.step("compared"):
        return walk.compare_jobs("first ppo", "second ppo")


def rank(url: str, project: str, seed: int) -> None:
    """The world's people join and rank all there is."""
    team = people_of(build_world(seed))
    with httpx.Client(base_url=url, timeout=60) as admin:
        admin.post("/v1/session", json={"email": ADMIN, "password": PASSWORD}).raise_for_status()
        for person in team:
            sign_up(admin, person, PASSWORD)
    work_together(url, project, team, PASSWORD, lambda: None)


if __name__ == "__main__":
    main()
