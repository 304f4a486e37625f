"""A second place for the audit's newest rows: whoever cuts them from the database must find this, too.

After each commit the row's number and seal go to a file below RANKLOOP_HOME/audit, one a month, and to the log. Rows
are chained, so the newest note vouches for all before it. What cannot be noted is said in the log: the work is done.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from annotation_api.db.audit.ledger import Noted

log = logging.getLogger("rankloop.audit")
FOLDER = "audit"
TAIL_BYTES = 64 * 2**10  # of a file, in which its newest note stands: processes write at once, so not always last


def note(home: Path, row: Noted) -> None:
    """Append a line `NUMBER SEAL TIME` to this month's file: so short a one is written whole."""
    now = datetime.now(UTC)
    log.info("audit row %d has the seal %s", row.seq, row.sha256)
    try:
        (home / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / FOLDER / f"noted-{now:%Y-%m}.txt"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{row.seq} {row.sha256} {now:%Y-%m-%dT%H:%M:%SZ}\n".encode())
        finally:
            os.close(file)
    except OSError:
        log.exception("the audit's row %d is noted in this log only", row.seq)


def newest(home: Path) -> tuple[Noted, ...]:
    """The newest note of each month."""
    return tuple(
        max(lines, key=lambda line: line.seq)
        for path in sorted((home / FOLDER).glob("noted-*.txt"))
        if (lines := list(_lines(path)))
    )


def _lines(path: Path) -> Iterator[Noted]:
    """The notes at a file's end; a line that was cut is none."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    for line in text.splitlines():
        seq, _, rest = line.partition(" ")
        sha256 = rest.partition(" ")[0]
        if seq.isdecimal() and len(sha256) == 64:
            yield Noted(int(seq), sha256)
