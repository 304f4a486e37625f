"""`rankloop users ...`; these need an administrator's key."""

from __future__ import annotations

from argparse import Namespace

from annotation_api.cli.client import Client
from annotation_api.cli.output import emit, table

COLUMNS = ("id", "role", "name", "email", "active")


def list_users(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/people", args.limit)
    emit(rows) if args.json else table(rows, COLUMNS)
    return 0


def invite(client: Client, args: Namespace) -> int:
    """A link that makes one account of the role."""
    row = client.post("/v1/invitations", {"role": args.role})
    emit(row) if args.json else print(f"Send this link to the new {row['role']}: {row['url']}")
    return 0
