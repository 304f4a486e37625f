"""`rankloop pipeline ...`."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client
from annotation_api.cli.commands.estimate import print_estimates
from annotation_api.cli.commands.labels import by_labels, labels, tagged
from annotation_api.cli.commands.watch import verdict, watch
from annotation_api.cli.output import emit, say, table
from annotation_api.cli.references import data_ref, project_id, settings, start_model

COLUMNS = ("id", "name", "tags", "state", "sft", "reward", "ppo", "created_at")


def run(client: Client, args: Namespace) -> int:
    """SFT, reward model and PPO; 0 when all three succeeded. `--detach` returns when they are queued.

    With `--validate` only what each would do is said.
    """
    if args.validate:
        answer = client.post("/v1/pipelines:validate", _body(client, args))
        emit(answer) if args.json else print_estimates(answer)
        return 0 if answer["ok"] else 1
    pipeline = client.post("/v1/pipelines", _body(client, args))
    if not args.detach:
        for job in pipeline["jobs"]:
            _follow(client, job["id"], args)
        pipeline = client.get(f"/v1/pipelines/{pipeline['id']}")
    _print(pipeline, args)
    return 0 if args.detach or pipeline["state"] == "succeeded" else 1


def _body(client: Client, args: Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {
        "demonstrations": data_ref(client, args.demonstrations),
        "preferences": data_ref(client, args.preferences),
        "preset": args.preset,
        "gpus": args.gpus,
        "allow_cpu": args.allow_cpu,
        "config": settings(args.set),
    }
    body |= {name: data_ref(client, text) for name in ("prompts", "pretraining") if (text := getattr(args, name))}
    body |= {"project": project_id(client, args.project)} if args.project else {}
    body |= labels(args)
    # last: a folder is registered once all else is known to be there
    return body | {"model": start_model(client, args.base, new=not args.validate)}


def _follow(client: Client, job: str, args: Namespace) -> None:
    if args.watch:
        watch(client, job, as_json=args.json)
    else:
        for _ in client.events(job):
            pass


def _print(pipeline: dict[str, Any], args: Namespace) -> None:
    """The ids of the jobs and of what they made."""
    stages = [
        {"stage": job["stage"], "job": job["id"], "state": job["state"], "model": (job["result"] or {}).get("model")}
        for job in pipeline["jobs"]
    ]
    if args.json:
        emit({"pipeline": pipeline["id"], "name": pipeline["name"], "state": pipeline["state"], "stages": stages})
        return
    named = f" ({pipeline['name']})" if pipeline["name"] else ""
    say(f"pipeline {pipeline['id']}{named} {pipeline['state']}")
    table(stages, ("stage", "job", "state", "model"))
    for job in pipeline["jobs"]:
        if job["state"] == "failed":
            say(f"{verdict(job)} Then: rankloop pipeline resume {pipeline['id']}")


def list_pipelines(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/pipelines", args.limit, created_by="me" if args.mine else None, **by_labels(args))
    if args.json:
        emit(rows)
    else:
        table([tagged(row) | {job["stage"]: job["state"] for job in row["jobs"]} for row in rows], COLUMNS)
    return 0


def show(client: Client, args: Namespace) -> int:
    _print(client.get(f"/v1/pipelines/{args.pipeline}"), args)
    return 0


def ask(client: Client, args: Namespace) -> int:
    """Cancel, pause or resume: what the subcommand is called; resume takes settings."""
    changed = settings(getattr(args, "set", []))
    body = {"config": changed} if changed else None
    _print(client.post(f"/v1/pipelines/{args.pipeline}:{args.subcommand}", body), args)
    return 0
