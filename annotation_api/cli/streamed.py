"""A job's events as the service streams them: server-sent events, read line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StreamedEvent:
    """One server-sent event of a job; `end` closes the stream and has no number."""

    id: int | None
    type: str
    data: dict[str, Any]


def parse_events(lines: Iterator[str]) -> Iterator[StreamedEvent]:
    """Server-sent events from their lines; comments are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            number = fields.get("id")
            yield StreamedEvent(
                int(number) if number else None, fields.get("event", "message"), json.loads(fields["data"])
            )
            fields = {}
