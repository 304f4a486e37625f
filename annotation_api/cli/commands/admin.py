"""What needs an administrator's key: `rankloop users ...`, and `rankloop audit ...`: who did what, and is it whole."""

from __future__ import annotations

from argparse import Namespace

from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.output import emit, remark, say, table

PEOPLE = ("id", "role", "name", "email", "pseudonym", "active")
ROWS = ("seq", "at", "pseudonym", "action", "objects", "outcome", "address")


def list_users(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/people", args.limit)
    emit(rows) if args.json else table(rows, PEOPLE)
    return 0


def invite(client: Client, args: Namespace) -> int:
    """A link that makes one account of the role."""
    row = client.post("/v1/invitations", {"role": args.role})
    emit(row) if args.json else say(f"Send this link to the new {row['role']}: {row['url']}")
    return 0


def list_rows(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/audit", args.limit, action=args.action, person=args.person)
    emit(rows) if args.json else table(rows, ROWS)
    return 0


def verify(client: Client, args: Namespace) -> int:
    """0 if every row holds; 1 names the first that does not."""
    found = client.get("/v1/audit:verify", **_noted(args.noted))
    if args.json:
        emit(found)
    elif found["ok"]:
        say(f"All {found['rows']} rows hold. Note this for the next time: {found['rows']}:{found['sha256']}")
    else:
        remark(f"rankloop: row {found['broken']} does not hold: {found['reason']}")
    return 0 if found["ok"] else 1


def _noted(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    seq, _, sha256 = text.partition(":")
    if not (seq.isdigit() and sha256):
        raise ClientError("--noted takes a row's number and seal, as `rankloop audit verify` printed them: ROW:SEAL")
    return {"seq": seq, "sha256": sha256}
