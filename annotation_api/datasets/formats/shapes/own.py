"""Our own exports read back: records as columns (`records-parquet`), and what the flat rows say of their origin."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from alignment.shared.records import Prompt, Record
from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Refused, Row, as_object

COLUMNS = frozenset({"prompt", "prompt_criterion", "language", "split", "lineage"})


def is_full(row: Row) -> bool:
    return row.keys() >= COLUMNS and isinstance(row.get("prompt"), list)


def full(kind: type[Record]) -> Callable[[Row], Iterator[Record]]:
    """Rows of columns.FULL as records of this kind."""

    def read(row: Row) -> Iterator[Record]:
        asked = {"messages": row["prompt"], "criterion": row.get("prompt_criterion"), "language": row.get("language")}
        asked |= {"tools": row["tools"]} if row.get("tools") is not None else {}
        if kind is Prompt:
            origin(row)
            value = asked
        else:
            own = {name: row[name] for name in kind.model_fields if row.get(name) is not None}
            value = {**own, "prompt": asked, "lineage": origin(row)}
        # Through JSON, because records take lists for tuples only there.
        yield kind.model_validate_json(json.dumps(value))

    return read


def origin(row: Row) -> dict[str, str]:
    """The lineage of an exported row; empty for other files. The split follows from the prompt alone."""
    if "split" not in row or "lineage" not in row:
        return {}
    row.get("split")
    value: Any = row.get("lineage")
    try:
        found = as_object(json.loads(value) if isinstance(value, str) else value or {}, "lineage")
    except ValueError as error:
        raise Refused(
            "lineage", Sentence("json-object-wrong", "must be a JSON object: %(error)s", error=error)
        ) from None
    if not all(isinstance(said, str) for said in found.values()):
        raise Refused("lineage", Sentence("object-of-texts", "must be an object of texts"))
    return found
