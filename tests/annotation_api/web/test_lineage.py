"""How a lineage reads as text: what a screen reader says, and what is copied."""

from __future__ import annotations

import re
from types import SimpleNamespace

from annotation_api.web.markup import rendering


def test_the_facts_of_a_line_stand_apart() -> None:
    facts = {"state": "succeeded", "rows": 1439, "submissions": {"count": 1439}}
    node = SimpleNamespace(type="snapshot", id="s", label="rankings", facts=facts)
    line = SimpleNamespace(depth=0, relation=None, again=False, node=node)
    template = rendering._environment.from_string("{% import '_macros.html' as ui %}{{ ui.lineage([line], true, {}) }}")
    words = " ".join(re.sub(r"<[^>]*>", "", template.render(line=line)).split())
    assert words == "snapshot rankings succeeded rows: 1439 annotations: 1439"
