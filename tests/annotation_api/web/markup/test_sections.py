"""The link of the menu that is lit: the page itself, or the section in which it lies."""

from __future__ import annotations

import re

import pytest

from annotation_api.web.markup.sections import UNDER, marked, section_of


@pytest.mark.parametrize(
    ("here", "link"),
    [
        ("/", "/"),
        ("/projects/7/tasks", "/"),
        ("/mine", "/mine"),
        ("/datasets/7", "/datasets"),
        ("/snapshots", "/datasets"),
        ("/freezes/7", "/datasets"),
        ("/jobs/7/again", "/jobs"),
        ("/jobs/new?stage=ppo", "/jobs"),
        ("/pipelines/new", "/jobs"),
        ("/compare", "/jobs"),
        ("/compare?job=7&job=8", "/jobs"),
        ("/compare?model=7&model=8", "/models"),
        ("/models/7", "/models"),
        ("/leaderboard", "/models"),
        ("/people/7/erase", "/people"),
        ("/erasures/7", "/people"),
        ("/audit?page=2", "/audit"),
        ("/threads/7", "/waiting"),
        ("/keys", "/account"),
        ("/account/second-factor", "/account"),
        ("/login", None),
        ("/jobsworth", None),
    ],
)
def test_a_page_below_lights_its_section(here: str, link: str | None) -> None:
    assert section_of(here) == link
    assert [other for other in UNDER if marked(here, other)] == [link] * (link is not None)


def test_the_page_itself_is_told_from_one_below() -> None:
    assert marked("/jobs?state=failed", "/jobs") == ' aria-current="page"'
    assert marked("/jobs/7", "/jobs") == ' aria-current="true"'
    assert marked("/jobs/7", "/models") == ""


def test_the_menu_of_a_page_marks_one_link(browser_of, person) -> None:  # type: ignore[no-untyped-def]
    from annotation_api.db.tables import Role

    browser = browser_of(person(Role.ADMIN))
    for path, link, value in (
        ("/jobs/new", "/jobs", "true"),
        ("/models", "/models", "page"),
        ("/keys", "/account", "true"),
    ):
        head = browser.get(path).text.partition("<main")[0]
        found = re.findall(r'<a href="([^"]+)"[^>]*aria-current="(\w+)"', head)
        assert found == [(link, value)], path
