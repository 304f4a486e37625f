"""`rankloop jobs ...` and `rankloop pipeline run`."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.client import Client, ClientError
from annotation_api.commands.output import emit, facts, table
from annotation_api.commands.references import data_ref, model_ref, settings, start_model
from annotation_api.commands.watch import verdict, watch

COLUMNS = ("id", "stage", "state", "reason", "attempts", "created_at")
STAGE_DATA = {"sft": "demonstrations", "sample": "prompts", "reward": "rankings", "ppo": "prompts"}


def create(client: Client, args: Namespace) -> int:
    """Queue a job; with --validate only say what it would do."""
    body = _body(client, args)
    if args.validate:
        answer = client.post("/v1/jobs:validate", body)
        emit(answer) if args.json else facts(answer)
        return 0 if answer["ok"] else 1
    job = client.post("/v1/jobs", body)
    if args.watch:
        return _finish(client, job["id"], args)
    emit(job) if args.json else print(f"{job['stage']} job {job['id']} is {job['state']}.")
    return 0


def _body(client: Client, args: Namespace) -> dict[str, Any]:
    inputs: dict[str, Any] = {STAGE_DATA[args.stage]: data_ref(args.data)}
    if len(args.model) > 1 and args.stage != "sample":
        raise ClientError(f"{args.stage} starts from one model, {len(args.model)} were given; name --model once.")
    if args.reward_model:
        inputs["reward_model"] = model_ref(args.reward_model)
    models = [start_model(client, text) for text in args.model]
    inputs |= {"models": models, "project": args.project} if args.stage == "sample" else {"model": models[0]}
    body = {"stage": args.stage, "inputs": inputs, "config": settings(args.set), "preset": args.preset}
    return body | {"gpus": args.gpus, "priority": args.priority}


def _finish(client: Client, job: str, args: Namespace) -> int:
    row = watch(client, job, as_json=args.json)
    if args.json:
        emit(row)
    return 0 if row["state"] == "succeeded" else 1


def list_jobs(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/jobs", args.limit, stage=args.stage, state=args.state)
    emit(rows) if args.json else table(rows, COLUMNS)
    return 0


def show(client: Client, args: Namespace) -> int:
    row = client.get(f"/v1/jobs/{args.job}")
    emit(row) if args.json else facts(row)
    return 0


def watch_job(client: Client, args: Namespace) -> int:
    """Follow a job to its end; 0 when it succeeded."""
    return _finish(client, args.job, args)


def cancel(client: Client, args: Namespace) -> int:
    return _told(client.post(f"/v1/jobs/{args.job}:cancel"), args)


def retry(client: Client, args: Namespace) -> int:
    return _told(client.post(f"/v1/jobs/{args.job}:retry"), args)


def resume(client: Client, args: Namespace) -> int:
    return _told(client.post(f"/v1/jobs/{args.job}:resume"), args)


def _told(row: dict[str, Any], args: Namespace) -> int:
    stopping = " and is asked to stop" if row["cancel_requested"] and row["finished_at"] is None else ""
    emit(row) if args.json else print(f"{row['stage']} job {row['id']} is {row['state']}{stopping}.")
    return 0


# ---------------------------------------------------------------- pipelines


def run_pipeline(client: Client, args: Namespace) -> int:
    """SFT, reward model and PPO; 0 when all three succeeded. `--detach` returns when they are queued."""
    body: dict[str, Any] = {
        "model": start_model(client, args.base),
        "demonstrations": data_ref(args.demonstrations),
        "preferences": data_ref(args.preferences),
        "preset": args.preset,
        "gpus": args.gpus,
        "config": settings(args.set),
    }
    if args.prompts:
        body["prompts"] = data_ref(args.prompts)
    pipeline = client.post("/v1/pipelines", body)
    if not args.detach:
        for job in pipeline["jobs"]:
            _follow(client, job["id"], args)
        pipeline = client.get(f"/v1/pipelines/{pipeline['id']}")
    _tell(pipeline, args)
    return 0 if args.detach or pipeline["state"] == "succeeded" else 1


def _follow(client: Client, job: str, args: Namespace) -> None:
    if args.watch:
        watch(client, job, as_json=args.json)
    else:
        for _ in client.events(job):
            pass


def _tell(pipeline: dict[str, Any], args: Namespace) -> None:
    """The ids of the jobs and of what they made."""
    stages = [
        {"stage": job["stage"], "job": job["id"], "state": job["state"], "model": (job["result"] or {}).get("model")}
        for job in pipeline["jobs"]
    ]
    if args.json:
        emit({"pipeline": pipeline["id"], "state": pipeline["state"], "stages": stages})
        return
    print(f"pipeline {pipeline['id']} {pipeline['state']}")
    table(stages, ("stage", "job", "state", "model"))
    for job in pipeline["jobs"]:
        if job["state"] == "failed":
            print(f"{verdict(job)} Then: rankloop jobs retry {job['id']}")
