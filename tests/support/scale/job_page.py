"""A job's page at 100,000 metric rows in a real Chromium: when it can be read, and when its charts are drawn.

    python -m tests.support.scale.job_page

Prints milliseconds from the click: the page (`text`), the first chart drawn (`drawn`), and the answer with the curves
alone (`curves`), the median of ROUNDS. Figures are of this machine, with what else runs on it.
"""

from __future__ import annotations

import json
import os
import time
from statistics import median
from typing import Any

from playwright.sync_api import Page
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from alignment.shared.config import PPOConfig, Stage
from annotation_api.app import create_app
from annotation_api.db.tables import Role
from annotation_api.http import auth
from annotation_api.jobs.curves import GROUPS
from annotation_api.settings import Settings
from tests.journey.screenshots import database
from tests.support.factory import Factory
from tests.support.live import chromium, served

ROWS, ROUNDS = 100_000, 7
FILL = """
INSERT INTO metrics (job_id, epoch, phase, step, name, value)
SELECT :job, 1, 'ppo', step, name, random() FROM generate_series(1, :steps) step, unnest(CAST(:names AS text[])) name
"""


def fill(engine: Engine) -> tuple[str, str]:
    """A job with so many rows of 25 metrics, and an engineer's session."""
    names = [name for charts in GROUPS.values() for chart in charts for name in chart][:25]
    with Session(engine) as session:
        make = Factory(session)
        job = make.job(Stage.PPO, config=PPOConfig().model_dump(mode="json"))
        session.execute(text(FILL), {"job": job.id, "steps": ROWS // len(names), "names": names})
        token = auth.start_session(session, make.person(Role.ENGINEER))
        session.commit()
        session.execute(text("ANALYZE metrics"))
        return str(job.id), token


def once(page: Page, url: str, job: str) -> dict[str, float]:
    began = time.monotonic()
    page.goto(f"{url}/jobs/{job}", wait_until="domcontentloaded")
    text_at = time.monotonic()
    page.wait_for_selector(".chart.drawn")
    drawn = time.monotonic()
    answer = page.request.get(f"{url}/jobs/{job}/curves")
    assert answer.ok
    curves = time.monotonic()
    return {"text": text_at - began, "drawn": drawn - began, "curves": curves - drawn}


def main() -> None:
    with database() as engine:
        job, token = fill(engine)
        app = create_app(Settings(database_url="postgresql://given-by-the-engine"), engine)
        with served(app) as url, chromium() as browser:
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.add_cookies([{"name": "rankloop", "value": token, "url": url}])
            page = context.new_page()
            found: list[dict[str, float]] = [once(page, url, job) for _ in range(ROUNDS + 1)][1:]
    told: dict[str, Any] = {name: round(1000 * median(row[name] for row in found)) for name in found[0]}
    print(json.dumps({"rows": ROWS, "milliseconds": told, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
