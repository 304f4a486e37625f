"""Every page, light and dark, narrow and wide: axe-core finds nothing, nothing runs off the side, keys suffice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from annotation_api.http.errors import MACHINE_PATHS
from tests.support.factory import Factory
from tests.support.scenes.scene import Scene, fill

FILES = {
    "/jobs/{job_id}/report",
    "/jobs/{job_id}/curves",
    "/compare/curves",
    "/projects",
}  # GET routes beside /v1 that answer with a file, or lead to a page, and are none of the service's
EVERYTHING = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
axe = Axe()


@pytest.fixture(scope="module")
def scene(module_engine: Engine) -> Scene:
    with Session(module_engine) as session:
        found = fill(session, Factory(session))
        session.commit()
    return found


@pytest.fixture(scope="module")
def tabs(scene: Scene, desk_url: str, desk_chromium: Browser) -> Iterator[dict[str | None, Page]]:
    """A tab for each who looks."""
    tabs: dict[str | None, Page] = {}
    for who in (None, *scene.tokens):
        context = desk_chromium.new_context(base_url=desk_url, viewport=DESKTOP, reduced_motion="reduce")
        if who:
            context.add_cookies([{"name": "rankloop", "value": scene.tokens[who], "url": desk_url}])
        tabs[who] = context.new_page()
    yield tabs
    for page in tabs.values():
        page.context.close()


def test_every_page_is_looked_at(app: FastAPI, scene: Scene) -> None:
    """A new page must be put into tests/support/scenes/scene.py."""
    routes = {
        str(context.path)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute) and "GET" in (context.methods or ())
    }
    pages = {route for route in routes if not f"{route}/".startswith(MACHINE_PATHS)} - FILES
    assert {place.route for place in scene.places} == pages


@pytest.mark.browser
def test_axe_finds_nothing_in_the_light_nor_in_the_dark(scene: Scene, tabs: dict[str | None, Page]) -> None:
    faults = []
    for place in scene.places:
        page = tabs[place.who]
        page.emulate_media(color_scheme="light")
        page.goto(place.path)
        page.evaluate("document.querySelectorAll('main details').forEach(it => it.open = true)")
        faults += [f"{place.name}: {fault}" for fault in found(page)]
        page.emulate_media(color_scheme="dark")
        faults += [f"{place.name}, dark: {fault}" for fault in found(page, CONTRAST)]
    assert faults == []


def found(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    """Each violation with the elements concerned."""
    results = axe.run(page, options=options or EVERYTHING).response["violations"]
    return [f"{it['id']}: {node['target']} {node['failureSummary']}" for it in results for node in it["nodes"]]


def wrong_sign_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password").fill("not the password")
    page.locator("main button").click()


def an_invitation(page: Page) -> None:
    page.goto("/people")
    page.get_by_role("button", name="Make a link").click()


def a_new_key(page: Page) -> None:
    page.goto("/keys")
    page.get_by_label("What is it for?").fill("axe")
    page.get_by_role("button", name="Make a key").click()


def a_wrong_password(page: Page) -> None:
    page.goto("/account")
    page.get_by_label("Password so far").fill("not the password")
    page.get_by_label("New password").fill("four other plain words")
    page.locator("main button").click()


def a_project_without_a_name(page: Page) -> None:
    page.goto("/projects/new")
    page.locator("input[name=name]").fill(" ")
    page.locator("form.build button:not(.first)").last.click()


def a_preview(page: Page) -> None:
    page.goto("/datasets")
    page.locator("main details").first.evaluate("it => it.open = true")
    lines = b'{"prompt": "What?", "chosen": "This.", "rejected": "That."}\n{"prompt": 7}\n'
    page.locator("input[type=file]").set_input_files({"name": "a.jsonl", "mimeType": "text/plain", "buffer": lines})
    page.get_by_role("button", name="Upload and look").click()
    expect(page.get_by_role("heading", name="Preview of a.jsonl")).to_be_visible()


def at_the_desk(page: Page, scene: Scene, name: str, keys: str) -> None:
    """A page to judge on, after some keys."""
    page.goto(next(place.path for place in scene.places if place.name == name))
    expect(page.locator("#desk")).to_have_attribute("data-ready", "yes")
    for key in keys:
        page.keyboard.press(key)


@pytest.mark.browser
def test_axe_finds_nothing_in_what_forms_answer(scene: Scene, tabs: dict[str | None, Page]) -> None:
    faults = []
    acts = [an_invitation, a_new_key, a_wrong_password, a_project_without_a_name, a_preview]
    for act, who in [(wrong_sign_in, None), *((act, "admin") for act in acts)]:
        page = tabs[who]
        page.emulate_media(color_scheme="light")
        act(page)
        page.wait_for_load_state()
        faults += [f"{act.__name__}: {fault}" for fault in found(page)]
    for name, keys in [("ranking", "?"), ("ranking", "v"), ("ranking", "1=2"), ("ranking", "0"), ("questions", "7n")]:
        at_the_desk(tabs["admin"], scene, name, keys)
        faults += [f"{name} after {keys}: {fault}" for fault in found(tabs["admin"])]
    assert faults == []


@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(scene: Scene, tabs: dict[str | None, Page]) -> None:
    wide = []
    for place in scene.places:
        page = tabs[place.who]
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        page.goto(place.path)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide.append(f"{place.name}: {width}")
    for page in tabs.values():
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    assert wide == []


@pytest.mark.browser
def test_chinese_pages_hold_no_english_sentence(scene: Scene, tabs: dict[str | None, Page], desk_url: str) -> None:
    """What a person reads in the header, titles, labels and buttons, apart from data of the scene (`data-name`); a
    chart's own legend repeats its lines' names, jobs among them, as soon as it is drawn."""
    english = []
    for place in scene.places:
        page = tabs[place.who]
        page.context.add_cookies([{"name": "rankloop_language", "value": "zh", "url": desk_url}])
        page.goto(place.path)
        words = page.evaluate(
            "[...document.querySelectorAll('button, label, th, dt, summary, nav a, legend, .note, .hint[id]')]"
            ".filter(it => !it.closest('[lang=en], .rich, .ask, .u-legend, [data-name]'))"
            ".map(it => it.innerText.trim())"
        )
        english += [f"{place.name}: {text}" for text in words if is_english(text)]
        page.context.clear_cookies(name="rankloop_language")
    assert english == []


def is_english(text: str) -> bool:
    """At least two English words in a row and no Chinese."""
    letters = [word for word in text.split() if word.isascii() and word.isalpha() and len(word) > 1]
    return len(letters) >= 2 and not any("\u4e00" <= letter <= "\u9fff" for letter in text)


@pytest.mark.browser
def test_keys_alone_reach_everything(scene: Scene, tabs: dict[str | None, Page]) -> None:
    """From the top: the skip link first, then each control in turn, its focus to be seen; Enter works the skip link."""
    page = tabs["admin"]
    page.goto("/people")
    page.keyboard.press("Tab")
    expect(page.locator(".jump")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.goto("/people")
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]"
        ".filter(it => it.checkVisibility()).length"
    )
    seen = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        mark, outline = page.evaluate(
            "() => { const it = document.activeElement; it.dataset.seen ??= String(Math.random());"
            " return [it.dataset.seen, getComputedStyle(it).outlineStyle]; }"
        )
        assert outline != "none"
        seen.add(mark)
    assert len(seen) == wanted


@pytest.mark.browser
def test_a_choice_in_the_header_goes_before_the_system(scene: Scene, tabs: dict[str | None, Page]) -> None:
    page = tabs["annotator"]
    page.emulate_media(color_scheme="light")
    page.goto("/account")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    for _ in range(2):  # as the system -> light -> dark
        page.locator("button.looks").click()
        page.wait_for_load_state()
    assert page.evaluate(ground) != light
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="修改密码")).to_be_visible()
    page.get_by_role("button", name="English").click()
    page.locator("button.looks").click()
    page.wait_for_load_state()
    assert page.evaluate(ground) == light
