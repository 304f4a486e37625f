"""What Chromium makes of the style sheet: ids, hints and statuses are soft on every page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.tables import DatasetKind, Role
from annotation_api.http import auth
from annotation_api.people import service

pytestmark = pytest.mark.browser

SOFT = ".id, .hint, .status, .axis"
# Of each element that must be soft: what it looks like, and what `--soft`, `--ink` and the page's own text are.
LOOK = """
(selector) => {
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
  const shown = [...document.querySelectorAll(selector)].map((element) => {
    const style = getComputedStyle(element);
    return {
      what: element.outerHTML.slice(0, 80), colour: style.color, margin: parseFloat(style.marginTop),
      size: parseFloat(style.fontSize), inline: style.display === "inline" || element.matches("td, dd, small"),
      small: element.matches(".id:not(dd), .hint, .status"), family: style.fontFamily, mono: element.matches(".id"),
      action: element.matches("a"),
    };
  });
  const found = { soft: colour("--soft"), ink: colour("--ink"), accent: colour("--accent"), shown };
  probe.remove();
  return found;
}
"""


@pytest.fixture
def pages(module_engine: Engine, factory: Any) -> dict[str, str]:
    """Ten pages with something to see, and the cookie of an admin."""
    with Session(module_engine) as session:
        make = factory(session)
        admin = make.person(Role.ADMIN, name="Ada")
        project = make.project(name="Politeness")
        make.task(make.prompt(project))
        data = make.dataset(DatasetKind.DEMONSTRATIONS, [Demonstration(prompt=Prompt.from_text("Q?"), response="a")])
        model, job, token = make.model(), make.job(), auth.start_session(session, admin)
        invitation, _ = service.invite(session, Role.ANNOTATOR)
        session.commit()
        return {
            "token": token,
            "home": "/",
            "project": f"/projects/{project.id}",
            "data set": f"/datasets/{data.id}",
            "job": f"/jobs/{job.id}",
            "model": f"/models/{model.id}",
            "person": f"/people/{admin.id}",
            "account": "/account",
            "desk": f"/projects/{project.id}/annotate",
            "join": f"/join/{invitation}",
            "sign-in": "/login",
        }


@pytest.fixture
def page(desk_chromium: Browser, desk_url: str, pages: dict[str, str]) -> Iterator[Page]:
    context = desk_chromium.new_context(base_url=desk_url)
    context.add_cookies([{"name": "rankloop", "value": pages.pop("token"), "url": desk_url}])
    yield context.new_page()
    context.close()


def test_ids_hints_and_statuses_are_soft_on_ten_pages(page: Page, pages: dict[str, str]) -> None:
    wrong = []
    assert len(pages) == 10
    for name, path in pages.items():
        if name == "sign-in":
            page.context.clear_cookies()
        page.goto(path)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(LOOK, SOFT)
            assert found["soft"] != found["ink"]
            assert found["shown"], f"{name}: nothing on the page is an id, a hint or a status"
            wrong += [f"{name}, {scheme}: {fault}" for item in found["shown"] for fault in _faults(item, found)]
    assert wrong == []


def _faults(item: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Links keep the colour of links."""
    if item["colour"] != found["accent" if item["action"] else "soft"]:
        yield f"{item['what']} has the colour {item['colour']} instead of {found['soft']}"
    if item["inline"] and item["margin"] > 0:
        yield f"{item['what']} stands {item['margin']} px lower than its line"
    if item["small"] and item["size"] > 14.5:
        yield f"{item['what']} has letters of {item['size']} px"
    if item["mono"] and "monospace" not in item["family"]:
        yield f"{item['what']} is written in {item['family']}"
