"""The table of shapes in docs/data.md is what the walk through the cases says (test_cases.py).

python -m tests.annotation_api.datasets.shapes.test_shapes_page     writes it anew
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.annotation_api.datasets.test_cases import EXPECTED

PAGE = Path(__file__).parents[4] / "docs" / "data.md"
TABLE = re.compile(r"(?<=<!-- shapes -->\n).*(?=<!-- end of shapes -->)", re.DOTALL)


def table() -> str:
    lines = ["| file | as | layout | records | refused | said |", "|---|---|---|---|---|---|"]
    for (name, kind, _), (layout, records, refused, word) in sorted(EXPECTED.items()):
        said = word.replace("|", "\\|").replace("unused:", "not used: ")
        lines.append(f"| {name} | {kind} | {layout} | {records} | {refused} | {said} |")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def test_the_page_has_the_table_of_the_walk() -> None:
    found = TABLE.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == table(), "renew it: python -m tests.annotation_api.datasets.shapes.test_shapes_page"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
