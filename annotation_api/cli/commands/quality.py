"""`rankloop agreement PROJECT`: how far its people agree; `rankloop leaderboard`: whose responses they prefer;
`rankloop erase`: what would go is shown, and goes for good with --yes.
"""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.output import emit, facts, remark, say, table
from annotation_api.cli.parsers import Parser, Sub, client_command, group, values
from annotation_api.cli.references import person_id, project_id
from annotation_api.db.kinds import ErasureScope, Slice

FIGURES = ("statistic", "subject", "value", "estimate", "low", "high", "items", "prompts")
TRUST = ("person", "subject", "value", "low", "high", "weight", "votes", "items")
POLL_SECONDS = 1.0
GOES = ("prompts", "responses", "answers", "dataset_rows", "tasks")  # of a plan
ERASED = ("id", "scope", "state", "done", "reason", "created_at")
STANDINGS = ("name", "strength", "low", "high", "elo", "comparisons", "wins", "losses", "ties", "group", "model")


def add(commands: Sub[Parser]) -> None:
    """Their parsers."""
    agree = client_command(commands, "agreement", agreement, "how far the people of a project agree")
    agree.add_argument("project", metavar="PROJECT", help="id or name")
    agree.add_argument("--people", action="store_true", help="instead: how much to trust whom")
    agree.add_argument("--by", choices=values(Slice), default="all", help="how the judgements are divided")
    board = client_command(commands, "leaderboard", leaderboard, "models by how people ranked their responses")
    board.add_argument("--project", metavar="PROJECT", help="only comparisons made in it; id or name")
    board.add_argument("--criterion", help="only comparisons by it")
    board.add_argument("--language", help="only of prompts in it, for example en")
    board.add_argument("--length", action="store_true", help="take out what length alone gains")
    _add_erase(commands)


def agreement(client: Client, args: Namespace) -> int:
    project = f"/v1/projects/{project_id(client, args.project)}"
    if args.people:
        found = client.get(f"{project}/reliability")
        emit(found) if args.json else table([rounded(row) for row in found["people"]], TRUST)
        return 0
    answer = client.get(f"{project}/agreement", by=args.by)
    if args.json:
        emit(answer)
        return 0
    table([rounded(row) for row in answer["figures"]], FIGURES)
    if answer["waiting"]:
        remark(f"{answer['waiting']} judgements are not counted yet; ask again in a few seconds.")
    return 0


def leaderboard(client: Client, args: Namespace) -> int:
    project = project_id(client, args.project) if args.project else None
    length = True if args.length else None
    chosen = {"project": project, "criterion": args.criterion, "language": args.language, "length": length}
    board = client.get("/v1/leaderboard", **chosen)
    if args.json:
        emit(board)
        return 0
    table([rounded(row) for row in board["models"]], STANDINGS)
    for asked, known in ((args.criterion, board["criteria"]), (args.language, board["languages"])):
        if asked and asked not in known:
            remark(
                f"No comparison of models was judged for {asked!r}; there are some for: {', '.join(known) or 'none'}."
            )
    if effect := board["length"]:
        remark(f"Twice the length gains {effect['value']:.2f} in log-odds; it is taken out above.")
    return 0


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def _add_erase(commands: Sub[Parser]) -> None:
    inner = group(commands, "erase", "erase a record, a person's answers or a project; what was done")
    for scope, text in (
        (ErasureScope.RECORD, "a prompt with all that hangs on it, everywhere or in a project"),
        (ErasureScope.PERSON, "what a person answered, everywhere or in a project"),
        (ErasureScope.PROJECT, "everything in a project"),
    ):
        one = client_command(inner, scope.value, erase, text)
        one.set_defaults(scope=scope.value)
        one.add_argument("--reason", help="why; kept, so write no content of it")
        one.add_argument("--yes", action="store_true", help="do it; without it what would go is only shown")
        _targets(one, scope)
    client_command(inner, "list", show_erased, "what was erased, and why")


def _targets(parser: Parser, scope: ErasureScope) -> None:
    if scope is ErasureScope.RECORD:
        parser.add_argument("--task", metavar="ID", help="a task that asks the prompt")
        parser.add_argument("--dataset", metavar="DATASET", help="the data set that holds it, with --row; id or name")
        parser.add_argument("--row", type=int, metavar="N", help="from 1, as in the file")
        parser.add_argument("--part", type=int, metavar="N", help="of a row that gave several records")
    if scope is ErasureScope.PERSON:
        parser.add_argument("person", metavar="PERSON", help="address, pseudonym or id")
    if scope is ErasureScope.PROJECT:
        parser.add_argument("project", metavar="PROJECT", help="id or name")
    else:
        parser.add_argument("--project", metavar="PROJECT", help="only what is in it; id or name")


def erase(client: Client, args: Namespace) -> int:
    """What would go is shown; with --yes it goes."""
    names = ("scope", "task", "dataset", "row", "part", "person")
    target: dict[str, Any] = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    if args.project:
        target["project"] = project_id(client, args.project)
    if "person" in target:
        target["person"] = person_id(client, target["person"])
    plan = client.post("/v1/erasures:preview", target)
    if not args.yes:
        emit(plan) if args.json else _print_plan(plan)
        return 0
    if not args.reason:
        raise ClientError("--yes needs --reason: say why, for those who ask later.")
    row = client.post("/v1/erasures", target | {"reason": args.reason})
    while row["finished_at"] is None:
        time.sleep(POLL_SECONDS)
        row = client.get(f"/v1/erasures/{row['id']}")
    emit(row) if args.json else say(_ended(row))
    return 0 if row["state"] == "succeeded" else 1


def _print_plan(plan: dict[str, Any]) -> None:
    """What would go, what would be marked, and what stands in the way."""
    facts({name.replace("_", " "): plan[name] for name in GOES})
    for kind, what in (("snapshot", "nothing reads it any more"), ("model", "it stays, and says so")):
        for one in plan[f"{kind}s"]:
            say(f"{kind} {one['id']} ({one['name']}): {one['rows']} of its rows; {what}")
    for job in plan["readers"]:
        say(f"It cannot be erased now: job {job} reads it. Wait until it ends, or cancel it.")
    say("Nothing was erased. To erase it for good: the same with --reason WHY --yes")


def _ended(row: dict[str, Any]) -> str:
    """How an erasure ended, in one line."""
    counts = ", ".join(f"{count} {what}" for what, count in row["counts"].items() if count)
    return f"erasure {row['id']} {row['state']}: {row['error'] or counts or 'there was nothing left to erase'}"


def show_erased(client: Client, args: Namespace) -> int:
    found = client.get("/v1/erasures")
    emit(found) if args.json else table(found["items"], ERASED)
    return 0
