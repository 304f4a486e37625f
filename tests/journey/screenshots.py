"""Every page as people see it, for looking at: light, dark, on a phone, in Chinese.

    python -m tests.journey.screenshots OUT

starts the service on a database of its own with some data of all three kinds, and writes
OUT/<page>.<look>.png.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.app import create_app
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import upgrade
from annotation_api.db.postgres.embedded import EmbeddedPostgres
from annotation_api.settings import Settings
from tests.support.factory import Factory
from tests.support.live import chromium, served
from tests.support.scenes.scene import Scene, fill

WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "device_scale_factor": 2},
    "chinese": {"viewport": WIDE, "locale": "zh-CN"},
}


@contextmanager
def database() -> Iterator[Engine]:
    """A migrated database that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="rankloop-look-", dir="/tmp") as home:
        Path(home).chmod(0o755)  # the server may run under another account
        with EmbeddedPostgres(Path(home)) as server:
            upgrade(server.url)
            engine = make_engine(server.url)
            yield engine
            engine.dispose()


def evaluation(browser: Browser, url: str, scene: Scene, out: Path, name: str) -> None:
    """Each page in one look, the whole page from top to bottom."""
    for who in (None, *scene.tokens):
        context = browser.new_context(base_url=url, **LOOKS[name])
        if who:
            context.add_cookies([{"name": "rankloop", "value": scene.tokens[who], "url": url}])
        page = context.new_page()
        for place in scene.places:
            if place.who == who:
                shoot(page, place.path, LOOKS[name]["viewport"], out / f"{place.name}.{name}.png")
        context.close()


def shoot(page: Page, path: str, viewport: ViewportSize, to: Path) -> None:
    """The window grows to the page's height, so that what sticks to its edge stands where it belongs."""
    page.set_viewport_size(viewport)
    page.goto(path)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": viewport["width"], "height": min(height, 8000)})
    page.screenshot(path=to)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with database() as engine:
        with Session(engine) as session:
            scene = fill(session, Factory(session))
            session.commit()
        app = create_app(Settings(database_url="postgresql://given-by-the-engine"), engine)
        with served(app) as url, chromium() as browser:
            for name in LOOKS:
                evaluation(browser, url, scene, out, name)
    print(f"{len(list(out.glob('*.png')))} pictures in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Give the folder to write to: python -m tests.journey.screenshots OUT")
    main(Path(sys.argv[1]))
