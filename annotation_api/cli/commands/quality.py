"""`rankloop agreement PROJECT`: how far its people agree; `rankloop leaderboard`: whose responses they prefer."""

from __future__ import annotations

import uuid
from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.output import emit, remark, table
from annotation_api.cli.parsers import Parser, Sub, client_command, values
from annotation_api.db.kinds import Slice

FIGURES = ("statistic", "subject", "value", "estimate", "low", "high", "items", "prompts")
TRUST = ("person", "subject", "value", "low", "high", "weight", "votes", "items")
STANDINGS = ("name", "strength", "low", "high", "elo", "comparisons", "wins", "losses", "ties", "group", "model")
MOST_PROJECTS = 10_000


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
    if effect := board["length"]:
        remark(f"Twice the length gains {effect['value']:.2f} in log-odds; it is taken out above.")
    return 0


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def project_id(client: Client, text: str) -> str:
    """The id of a project that is named by it or by its name."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        named = [row["id"] for row in client.pages("/v1/projects", MOST_PROJECTS) if row["name"] == text]
    if not named:
        raise ClientError(f"There is no project named {text!r} that you see.")
    return str(named[0])
