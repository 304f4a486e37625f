"""The pictures of README.md, from the real pages: a task that is being ranked, and the report of a reward model.

    python -m tests.support.scenes.pictures [docs/pictures]

The report is that of a small reward model, trained here on rankings of people who are made up, one of whom does not
look. About a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize
from sqlalchemy.orm import Session

from alignment.shared import stages
from alignment.shared.events import NullReporter
from alignment.shared.records import write_jsonl
from annotation_api.app import create_app
from annotation_api.settings import Settings
from tests.journey.screenshots import database
from tests.support.alignment import planted, tiny
from tests.support.alignment.planted import Plan, careless, honest
from tests.support.factory import Factory
from tests.support.live import chromium, served
from tests.support.scenes.scene import fill

SIZE: ViewportSize = {"width": 1000, "height": 720}
COLOURS = 128  # of a picture: text and two charts have few
SETTINGS = {"learning_rate": 4e-3, "batch_size": 16, "micro_batch_size": 16, "max_length": 64, "heldout_fraction": 0.25}
TEAM = (("ann", honest), ("ben", honest), ("cat", honest), ("dan", careless))


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        ranking(browser, out / "ranking.png")
        report(browser, out / "report.png")


def ranking(browser: Browser, to: Path) -> None:
    """The page of a task, some of its responses ranked by keys."""
    with database() as engine:
        with Session(engine) as session:
            scene = fill(session, Factory(session))
            session.commit()
        with served(create_app(Settings(), engine)) as url:
            context = browser.new_context(base_url=url, viewport=SIZE, color_scheme="light")
            context.add_cookies([{"name": "rankloop", "value": scene.tokens["admin"], "url": url}])
            page = context.new_page()
            page.goto(next(place.path for place in scene.places if place.name == "ranking"))
            page.locator("summary", has_text="Guidelines").click()  # folded away, so that the responses are in view
            page.keyboard.type("2>1")
            shoot(page, to)
            context.close()


def report(browser: Browser, to: Path) -> None:
    """The first screen of `reward_report.html`."""
    with tempfile.TemporaryDirectory(prefix="rankloop-picture-") as home:
        folder = Path(home)
        write_jsonl(folder / "rankings.jsonl", planted.rankings(Plan(600, judges=TEAM, overlap=2)))
        tiny.save(tiny.causal(), folder / "base")
        inputs = {"model": folder / "base", "rankings": folder / "rankings.jsonl"}
        stages.run(stages.Stage.REWARD, SETTINGS, inputs, folder / "out", NullReporter())
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((folder / "out" / "reward_report.html").as_uri())
        shoot(page, to)
        page.close()


def shoot(page: Page, to: Path) -> None:
    page.screenshot(path=to)
    with Image.open(to) as taken:
        taken.convert("RGB").quantize(COLOURS).save(to, optimize=True)
    print(f"{to}: {to.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
