"""`rankloop prepare`, `rankloop instruct`: what work on data would leave, shown first, kept or undone when asked."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.commands.watch import verdict, watch
from annotation_api.cli.output import emit, say
from annotation_api.cli.references import data_ref, found_by_name, settings, start_model

INSTRUCT = ("teacher", "teacher_model", "count", "language", "makes")  # settings with an option of their own
WIDTH = 120  # characters of an example


def run(client: Client, args: Namespace) -> int:
    """Queue the preparation and follow it; 0 when it was shown, kept or undone."""
    if args.undo:
        key = data_ref(client, args.data).get("dataset")
        if key is None:
            raise ClientError("--undo takes a data set that a preparation made.")
        client.delete(f"/v1/datasets/{key}")
        emit({"removed": key}) if args.json else say(f"Data set {key} is gone; what it was made of stays.")
        return 0
    return _told(client, args, _shown(client, args))


def instruct(client: Client, args: Namespace) -> int:
    """Queue a job that makes instructions from seeds, and follow it."""
    if args.data.startswith("job:"):
        return _told(client, args, _job(client, args.data))
    given = {"seeds": data_ref(client, args.data)}
    if args.start:
        given["model"] = start_model(client, args.start)
    config = settings(args.set) | {name: value for name in INSTRUCT if (value := getattr(args, name)) is not None}
    body = {"stage": "instruct", "inputs": given, "config": config, "gpus": args.gpus}
    return _told(client, args, watch(client, client.post("/v1/jobs", body)["id"], as_json=args.json))


def _told(client: Client, args: Namespace, shown: dict[str, Any]) -> int:
    """The job's report; its outcome as a new data set where that was asked for."""
    if shown["state"] != "succeeded":
        emit(shown) if args.json else say(verdict(shown))
        return 1
    report = shown["result"]["details"]["preparation"]
    kept = _kept(client, args, shown["id"]) if args.keep else None
    if args.json:
        emit({"job": shown["id"], "report": report, "dataset": kept})
        return 0
    _print(report)
    again = f"rankloop {shown['stage']} job:{shown['id']} --keep"
    say(f"Kept as data set {kept}." if kept else f"Nothing was written. To keep it: {again}")
    return 0


def _kept(client: Client, args: Namespace, job: str) -> str:
    """The new data set that the job's outcome becomes."""
    body = {"job": job} | ({"name": args.name} if args.name else {})
    return str(client.post("/v1/datasets:from-preparation", body)["id"])


def _shown(client: Client, args: Namespace) -> dict[str, Any]:
    """The job: a new one, or one that was shown before."""
    if args.data.startswith("job:"):
        return _job(client, args.data)
    given = {"records": data_ref(client, args.data)}
    given |= {name: data_ref(client, text) for name in ("evaluation", "against") if (text := getattr(args, name))}
    if args.tokenizer:
        given["tokenizer"] = start_model(client, args.tokenizer)
    body = {"stage": "prepare", "inputs": given, "config": settings(args.set)}
    return watch(client, client.post("/v1/jobs", body)["id"], as_json=args.json)


def _job(client: Client, text: str) -> dict[str, Any]:
    """The job that `job:ID` or `job:NAME` names."""
    found: dict[str, Any] = client.get(f"/v1/jobs/{found_by_name(client, 'jobs', text.removeprefix('job:'))}")
    return found


def _print(report: dict[str, Any]) -> None:
    """Step by step; what came of it last."""
    for step in report["steps"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in step["left_out"].items())
        say(f"{step['step']}: {step['before']} -> {step['after']}, {step['changed']} changed. {reasons}".rstrip())
        for example in step["examples"]:
            after = f" -> {example['after'][:WIDTH]!r}" if "after" in example else ""
            say(f"  row {example['row']}, {example['why']}: {example['text'][:WIDTH]!r}{after}")
    for language, each in report.get("tokens", {}).get("languages", {}).items():
        over = f", {each['over']:.1%} over {report['tokens']['context']}" if report["tokens"]["context"] else ""
        lengths = f"median {each['median']:g}, 95 % {each['p95']:g}, longest {each['longest']}"
        say(f"tokens, {language}: {lengths}, {each['fertility']:.2f} a word{over}")
    say(f"{report['before']} records before, {report['after']} after.")
