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


def change(client: Client, args: Namespace) -> int:
    """Another name, notes or tags for a job, model, data set or snapshot."""
    wanted = labels(args)
    if not wanted:
        raise ClientError("Say what is to change: --name, --notes or --tag.")
    key = found_by_name(client, f"{args.kind}s", args.thing)
    row = client.patch(f"/v1/{args.kind}s/{key}", wanted)
    emit(row) if args.json else say(f"{args.kind} {row['id']}: {row['name'] or '-'} {' '.join(row['tags'])}".rstrip())
    return 0
