"""The table of shapes in docs/data.md: a short row of every layout, and what the readers make of it.

python -m tests.annotation_api.datasets.shapes.test_shapes_page     writes it anew
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.datasets.formats.reading import Reading
from annotation_api.datasets.layouts import Format
from tests.annotation_api.datasets.shapes.examples import EXAMPLES

PAGE = Path(__file__).parents[4] / "docs" / "data.md"
TABLE = re.compile(r"(?<=<!-- shapes -->\n).*(?=<!-- end of shapes -->)", re.DOTALL)
# Ours, which no stranger's row has; a way of writing rows; what looks.
NO_LAYOUTS_OF_OTHERS = {Format.JSONL, Format.RECORDS, Format.CSV, Format.AUTO}


def table() -> str:
    lines = ["| layout | a row of it | becomes |", "|---|---|---|"]
    for layout, (kind, row) in EXAMPLES.items():
        reading = Reading(io.BytesIO(json.dumps(row).encode()), kind)
        made = "; ".join(_told(item.record) for item in reading)
        assert (reading.format, reading.refusals) == (layout, []), layout
        shown = json.dumps(row, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{layout}` | `{shown}` | {kind}: {made} |")
    return "\n".join(lines) + "\n"


def _told(record: Any) -> str:
    """A record in a few words."""
    match record:
        case Prompt():
            return record.text
        case Demonstration():
            return f"{record.prompt.text} → {record.response}"
        case Ranking():
            order = " > ".join(" = ".join(record.responses[i] for i in group) for group in record.groups)
            more = (
                record.criterion,
                record.annotator and f"by {record.annotator}",
                record.strength and f"strength {record.strength}",
            )
            said = ", ".join(str(each) for each in more if each)
            return f"{order} ({said})" if said else order
    return f"{' and '.join(record.responses)}, without an order"


def test_the_page_has_a_row_of_every_layout_and_what_becomes_of_it() -> None:
    assert {Format(name) for name in EXAMPLES} == set(Format) - NO_LAYOUTS_OF_OTHERS
    found = TABLE.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == table(), "renew it: python -m tests.annotation_api.datasets.shapes.test_shapes_page"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
