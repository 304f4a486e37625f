"""`rankloop prepare`: what a preparation of data would leave, shown first, kept when asked, undone when asked."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.commands.watch import watch
from annotation_api.cli.output import emit, remark
from annotation_api.cli.references import data_ref, settings

WIDTH = 120  # characters of an example


def run(client: Client, args: Namespace) -> int:
    """Queue the preparation and follow it; 0 when it was shown, kept or undone."""
    if args.undo:
        key = data_ref(client, args.data).get("dataset")
        if key is None:
            raise ClientError("--undo takes a data set that a preparation made.")
        client.delete(f"/v1/datasets/{key}")
        remark(f"Data set {key} is gone; what it was made of stays.")
        return 0
    shown = _shown(client, args)
    if shown["state"] != "succeeded":
        emit(shown)
        return 1
    report = shown["result"]["details"]["preparation"]
    _print(report)
    answer: dict[str, Any] = {"job": shown["id"], "report": report, "dataset": None}
    if args.keep:
        body = {"job": shown["id"]} | ({"name": args.name} if args.name else {})
        answer["dataset"] = client.post("/v1/datasets:from-preparation", body)["id"]
        remark(f"Kept as data set {answer['dataset']}.")
    else:
        remark(f"Nothing was written. To keep it: rankloop prepare job:{shown['id']} --keep")
    emit(answer)
    return 0


def _shown(client: Client, args: Namespace) -> dict[str, Any]:
    """The job: a new one, or one that was shown before."""
    if args.data.startswith("job:"):
        found: dict[str, Any] = client.get(f"/v1/jobs/{args.data.removeprefix('job:')}")
        return found
    given = {"records": data_ref(client, args.data)}
    given |= {name: data_ref(client, text) for name in ("evaluation", "against") if (text := getattr(args, name))}
    body = {"stage": "prepare", "inputs": given, "config": settings(args.set)}
    return watch(client, client.post("/v1/jobs", body)["id"], as_json=args.json)


def _print(report: dict[str, Any]) -> None:
    for step in report["steps"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in step["left_out"].items())
        remark(f"{step['step']}: {step['before']} -> {step['after']}, {step['changed']} changed. {reasons}".rstrip())
        for example in step["examples"]:
            after = f" -> {example['after'][:WIDTH]!r}" if "after" in example else ""
            remark(f"  row {example['row']}, {example['why']}: {example['text'][:WIDTH]!r}{after}")
    remark(f"{report['before']} records before, {report['after']} after.")
