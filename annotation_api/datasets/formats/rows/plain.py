"""A row before its layout is looked for: out of what it is wrapped in, its names in one letter case."""

from __future__ import annotations

import contextlib
from typing import Any

from annotation_api.datasets.formats.rows import batches, calls, exchanges, pointed
from annotation_api.datasets.values import Refused


def looked_at(row: dict[str, Any]) -> dict[str, Any]:
    """The row unwrapped, for the look; one that cannot be so is refused when it is read."""
    with contextlib.suppress(Refused):
        found = unwrapped(row)
        return exchanges.in_turn(found) if exchanges.is_in_turn(found) else found
    return row


def unwrapped(row: dict[str, Any]) -> dict[str, Any]:
    """The row as its batch's task named it, or as the chat that a log holds."""
    return pointed.resolved(batches.unbatched(row) if batches.is_batch(row) else calls.unwrapped(row))


def folded(row: dict[str, Any]) -> dict[str, Any]:
    """The row under names in lower case with _ for blanks: as it is where two names would then be one."""
    lower = {str(name).strip().lower().replace(" ", "_").replace("-", "_"): value for name, value in row.items()}
    return lower if len(lower) == len(row) else row
