"""`rankloop compare`: jobs, or models, side by side."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client
from annotation_api.cli.output import emit, remark, say, table
from annotation_api.cli.references import found_by_name


def compare(client: Client, args: Namespace) -> int:
    """Settings that differ and final numbers with intervals; with --models the models' numbers."""
    kind = "model" if args.models else "job"
    keys = [found_by_name(client, f"{kind}s", text) for text in args.things]
    found = client.get(f"/v1/{kind}s:compare", **{kind: keys})
    if args.json:
        emit(found)
        return 0
    for note in found["notes"]:
        remark(f"note: {note}")
    if verdict := found.get("promotion"):
        remark(f"{verdict['rule']} Here it is {'met' if verdict['met'] else 'not met'}: {verdict['because']}")
    labels = [side["label"] for side in found[f"{kind}s"]]
    if found.get("settings"):
        table([_row(each["name"], labels, each["values"]) for each in found["settings"]], ("setting", *labels))
        say()
    numbers = [_row(each["name"], labels, [_number(value) for value in each["values"]]) for each in found["numbers"]]
    table([{"number": row["setting"], **row} for row in numbers], ("number", *labels))
    return 0


def _row(name: str, labels: list[str], values: list[Any]) -> dict[str, Any]:
    return {"setting": name, **dict(zip(labels, values, strict=True))}


def _number(value: dict[str, Any] | None) -> str | None:
    if value is None:
        return None
    interval = f" ({value['low']:.4g} to {value['high']:.4g})" if value["low"] is not None else ""
    return f"{value['value']:.4g}{interval}"
