"""A class has one meaning: its own rules stand in one sheet, and on the elements that they are for."""

from __future__ import annotations

import re
from collections import defaultdict

from annotation_api.web.markup.language import LOCALES

WEB = LOCALES.parent
OWN = re.compile(r"(?:^|[},])\s*\.([\w-]+)(?:\[[^\]]*\])?\s*(?=[,{])", re.MULTILINE)
REFINED = {"answer"}  # the desk of annotators moves its border


def test_no_class_has_rules_of_its_own_in_two_sheets() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (WEB / "static").glob("*.css"):
        for name in OWN.findall(re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)):
            found[name].add(path.name)
    assert {name: sheets for name, sheets in found.items() if len(sheets) > 1 and name not in REFINED} == {}


def test_the_box_of_a_question_is_no_link() -> None:
    tags = {
        tag
        for path in (WEB / "templates").glob("*.html")
        for tag in re.findall(r'<(\w+)[^>]*\bclass="(?:[^"]* )?ask(?: [^"]*)?"', path.read_text("utf-8"))
    }
    assert tags == {"fieldset"}
