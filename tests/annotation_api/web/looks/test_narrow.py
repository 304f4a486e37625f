"""A page on a phone, in Chromium: no name of a setting is broken, and what is wider than the page shows that it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.db.tables import PersonStanding, Role
from annotation_api.http import auth

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 390, "height": 844}
NAMES = {"gate.min_length_controlled_share": 0.5, "evaluate_every": 7, "missing_eos_score": -1.0}
BROKEN = """() => [...document.querySelectorAll(":is(td, th, dt, label, .heading) > code")]
  .filter((it) => it.checkVisibility() && it.getClientRects().length > 1).map((it) => it.innerText)"""


@pytest.fixture(scope="module")
def paths(module_engine: Engine, factory: Any) -> dict[str, str]:
    """Pages with names of settings and wide tables, and the cookie of an admin."""
    with Session(module_engine) as session:
        make = factory(session)
        admin, sides = make.person(Role.ADMIN), [make.job(Stage.PPO, config=NAMES), make.job(Stage.PPO)]
        project, typed = make.project(admin), "W" * 900
        ids = {"project_id": project.id, "person_id": make.person().id}
        session.add(PersonStanding(**ids, paused_at=datetime.now(UTC), reason=typed))
        make.model(name=typed[:100])
        make.job(Stage.SFT).name = typed[:100]
        token, chosen = auth.start_session(session, admin), "&".join(f"job={job.id}" for job in sides)
        session.commit()
        return {
            "token": token,
            "job": f"/jobs/{sides[0].id}",
            "form": "/jobs/new?stage=ppo",
            "compare": f"/compare?{chosen}",
            "choose": "/compare",
            "paused": f"/projects/{project.id}/review/annotators",
        }


@pytest.fixture
def page(desk_chromium: Browser, desk_url: str, paths: dict[str, str]) -> Iterator[Page]:
    context = desk_chromium.new_context(base_url=desk_url, viewport=PHONE)
    context.add_cookies([{"name": "rankloop", "value": paths["token"], "url": desk_url}])
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", ["job", "form", "compare"])
def test_no_name_of_a_setting_is_broken(page: Page, paths: dict[str, str], name: str) -> None:
    page.goto(paths[name])
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    assert page.locator("code", has_text="evaluate_every").count()
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("name", ["choose", "paused"])
def test_a_word_that_is_wider_than_the_page_is_broken(page: Page, paths: dict[str, str], name: str) -> None:
    page.goto(paths[name])
    assert "WWW" in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("path", ["/jobs", "/models"])
def test_a_name_of_one_long_word_widens_no_table(page: Page, path: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(path)
    name = page.get_by_role("link", name="W" * 100)
    box = name.bounding_box()
    assert box is not None
    assert box["width"] <= 24 * 16  # rem
    assert page.locator(".wide").evaluate("it => it.scrollWidth <= it.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_wider_than_the_page_has_a_shadow_where_it_goes_on(
    page: Page, paths: dict[str, str], scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(paths["compare"])
    wide = page.locator(".wide").first
    wide.evaluate("it => { it.style.width = '12rem'; it.querySelector('table').style.visibility = 'hidden'; }")
    assert _edges(page) == (False, True)
    wide.evaluate("it => { it.scrollLeft = it.scrollWidth; }")
    assert _edges(page) == (True, False)
    wide.evaluate("it => { it.style.width = '60rem'; }")
    assert _edges(page) == (False, False)


def _edges(page: Page) -> tuple[bool, bool]:
    """Whether the left and the right edge are of another colour than the ground."""
    picture = Image.open(io.BytesIO(page.locator(".wide").first.screenshot())).convert("RGB")
    middle = picture.height // 2
    ground = picture.getpixel((picture.width // 2, middle))
    return picture.getpixel((1, middle)) != ground, picture.getpixel((picture.width - 2, middle)) != ground
