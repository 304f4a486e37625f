"""`rankloop erase`: what would go is shown; with --yes it goes, for good."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.commands.quality import project_id
from annotation_api.cli.output import emit, remark, table
from annotation_api.cli.parsers import Parser, Sub, client_command, group
from annotation_api.db.kinds import ErasureScope

POLL_SECONDS = 1.0
COLUMNS = ("id", "scope", "state", "done", "reason", "created_at")


def add(commands: Sub[Parser]) -> None:
    """Their parsers."""
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
    client_command(inner, "list", show_all, "what was erased, and why")


def _targets(parser: Parser, scope: ErasureScope) -> None:
    if scope is ErasureScope.RECORD:
        parser.add_argument("--task", metavar="ID", help="a task that asks the prompt")
        parser.add_argument("--dataset", metavar="ID", help="the data set that holds it, with --row")
        parser.add_argument("--row", type=int, metavar="N", help="from 1, as in the file")
        parser.add_argument("--part", type=int, metavar="N", help="of a row that gave several records")
    if scope is ErasureScope.PERSON:
        parser.add_argument("person", metavar="PERSON", help="the person's id")
    if scope is ErasureScope.PROJECT:
        parser.add_argument("project", metavar="PROJECT", help="id or name")
    else:
        parser.add_argument("--project", metavar="PROJECT", help="only what is in it; id or name")


def erase(client: Client, args: Namespace) -> int:
    names = ("scope", "task", "dataset", "row", "part", "person")
    target: dict[str, Any] = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    if args.project:
        target["project"] = project_id(client, args.project)
    plan = client.post("/v1/erasures:preview", target)
    if not args.yes:
        emit(plan)
        remark("Nothing was erased. To erase it for good: the same with --reason WHY --yes")
        return 0
    if not args.reason:
        raise ClientError("--yes needs --reason: say why, for those who ask later.")
    row = client.post("/v1/erasures", target | {"reason": args.reason})
    while row["finished_at"] is None:
        time.sleep(POLL_SECONDS)
        row = client.get(f"/v1/erasures/{row['id']}")
    emit(row)
    return 0 if row["state"] == "succeeded" else 1


def show_all(client: Client, args: Namespace) -> int:
    found = client.get("/v1/erasures")
    emit(found) if args.json else table(found["items"], COLUMNS)
    return 0
