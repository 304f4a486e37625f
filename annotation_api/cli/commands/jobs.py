"""`rankloop jobs ...`."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client
from annotation_api.cli.commands.estimate import print_estimate
from annotation_api.cli.commands.labels import by_labels, labels, tagged
from annotation_api.cli.commands.watch import waits, watch
from annotation_api.cli.output import emit, facts, remark, say, size, table
from annotation_api.cli.references import settings

COLUMNS = ("id", "name", "tags", "stage", "state", "progress", "waits", "epoch", "created_at")
ATTEMPTS = ("epoch", "outcome", "worker", "claimed_at", "ended_at", "waited_seconds", "cause")
SAVED = ("step", "size", "epoch", "created_at", "removed_at", "name", "sha256")
CANDIDATES = ("step", "chosen", "metrics")
WINS = ("update", "score", "kl", "rate", "low", "high", "wins", "ties", "losses", "identical", "judged", "waiting")


def create(client: Client, args: Namespace) -> int:
    """Queue a job; with --validate only say what it would do."""
    body = _body(client, args)
    if args.validate:
        answer = client.post("/v1/jobs:validate", body)
        emit(answer) if args.json else print_estimate(answer)
        return 0 if answer["ok"] else 1
    job = client.post("/v1/jobs", body)
    if args.watch:
        return _finish(client, job["id"], args)
    emit(job) if args.json else say(f"{job['stage']} job {job['id']} is {job['state']}.")
    return 0


def _body(client: Client, args: Namespace) -> dict[str, Any]:
    from annotation_api.cli.commands.stage_inputs import inputs  # pydantic, for this command alone

    given = inputs(client, args)
    body = {"stage": args.stage, "inputs": given, "config": settings(args.set), "preset": args.preset}
    body |= {"gpus": args.gpus, "allow_cpu": args.allow_cpu, "priority": args.priority}
    return body | labels(args)


def _finish(client: Client, job: str, args: Namespace) -> int:
    row = watch(client, job, as_json=args.json)
    if args.json:
        emit(row)
    return 0 if row["state"] == "succeeded" else 1


def list_jobs(client: Client, args: Namespace) -> int:
    maker = "me" if args.mine else None
    rows = client.pages("/v1/jobs", args.limit, stage=args.stage, state=args.state, created_by=maker, **by_labels(args))
    if args.json:
        emit(rows)
    else:
        table([tagged(row) | {"progress": _share(row), "waits": waits(row)} for row in rows], COLUMNS)
    return 0


def _share(row: dict[str, Any]) -> str | None:
    at = row["progress"]
    return f"{at['phase']} {at['step']}/{at['total']}" if at else None


def show(client: Client, args: Namespace) -> int:
    row = client.get(f"/v1/jobs/{args.job}")
    emit(row) if args.json else facts(row)
    return 0


def watch_job(client: Client, args: Namespace) -> int:
    """Follow a job to its end; 0 when it succeeded."""
    return _finish(client, args.job, args)


def ask(client: Client, args: Namespace) -> int:
    """Cancel or pause: what the subcommand is called."""
    return _print_state(client.post(f"/v1/jobs/{args.job}:{args.subcommand}"), args)


def again(client: Client, args: Namespace) -> int:
    """Resume or retry, with other settings where some are given."""
    changed = {"config": settings(args.set), "gpus": args.gpus, "priority": args.priority}
    given = {name: value for name, value in changed.items() if value not in (None, {})}
    return _print_state(client.post(f"/v1/jobs/{args.job}:{args.subcommand}", given or None), args)


def _print_state(row: dict[str, Any], args: Namespace) -> int:
    wish = "stop" if row["cancel_requested"] else "pause" if row["pause_requested"] else ""
    asked = f" and is asked to {wish}" if wish and row["finished_at"] is None else ""
    emit(row) if args.json else say(f"{row['stage']} job {row['id']} is {row['state']}{asked}.")
    return 0


# ---------------------------------------------------------------- what it leaves


def attempts(client: Client, args: Namespace) -> int:
    rows = client.get(f"/v1/jobs/{args.job}/attempts")
    if args.json:
        emit(rows)
    else:
        table([row | {"cause": (row["error"] or {}).get("cause")} for row in rows], ATTEMPTS)
    return 0


def log(client: Client, args: Namespace) -> int:
    """The last lines of an attempt, as they were written."""
    answer = client.get(f"/v1/jobs/{args.job}/log", epoch=args.attempt, lines=args.lines)
    if args.json:
        emit(answer)
    elif answer["lines"]:
        say("\n".join(answer["lines"]))
    else:
        remark("Nothing was written yet." if answer["epoch"] is None else f"Attempt {answer['epoch']} left no log.")
    return 0


def checkpoints(client: Client, args: Namespace) -> int:
    rows = client.get(f"/v1/jobs/{args.job}/checkpoints")
    if args.json:
        emit(rows)
        return 0
    saved = [row | {"size": size(row["size"])} for row in rows if row["kind"] == "saved"]
    table(saved, SAVED)
    compared = [row for row in rows if row["kind"] == "candidate"]
    if compared:
        say()
        table(compared, CANDIDATES)
    return 0


def wins(client: Client, args: Namespace) -> int:
    """How often people prefer the policy of each evaluation to the SFT policy, beside the learned score."""
    rows = client.get(f"/v1/jobs/{args.job}/win_rate")
    if args.json:
        emit(rows)
    else:
        table([{name: _rounded(value) for name, value in row.items()} for row in rows], WINS)
    return 0


def _rounded(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value
