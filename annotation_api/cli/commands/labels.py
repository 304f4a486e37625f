"""`rankloop label`, and the labels of what other commands make."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.output import emit, say
from annotation_api.cli.references import found_by_name


def labels(args: Namespace) -> dict[str, Any]:
    """What --name, --notes and --tag say, as a request takes it."""
    given = {"name": args.name, "notes": args.notes, "tags": args.tag}
    return {name: value for name, value in given.items() if value is not None}


def by_labels(args: Namespace) -> dict[str, Any]:
    """What --name and --tag look for in a list."""
    return {"name": args.name, "tag": args.tag}


def tagged(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a list with its tags as a person writes them."""
    return row | {"tags": " ".join(row["tags"])}


def change(client: Client, args: Namespace) -> int:
    """Another name, notes or tags for what jobs and people made."""
    wanted = labels(args)
    if not wanted:
        raise ClientError("Say what is to change: --name, --notes or --tag.")
    key = found_by_name(client, f"{args.kind}s", args.thing)
    row = client.patch(f"/v1/{args.kind}s/{key}", wanted)
    emit(row) if args.json else say(f"{args.kind} {row['id']}: {row['name'] or '-'} {' '.join(row['tags'])}".rstrip())
    return 0
