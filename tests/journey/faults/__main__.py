"""The fault matrix: each fault that one machine can make is made, and what came of it is printed as a table.

    python -m tests.journey.faults [--only WORDS]

A Postgres that waits for its disk, dispatchers, launchers, the API and Ray are real, and so are the faults; the
stage is a stub where no model is needed. Needs root for some rows (a full disk, a cut network) and libfaketime for
one; a row that cannot be made here says so. Prints one line a row; exits 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from annotation_api.db.postgres.embedded import EmbeddedPostgres
from tests.journey.faults import api, attempts, database, dispatchers, network, stages
from tests.journey.faults.ground import Ground, NotHere, Seen

ROWS: dict[str, Callable[[Ground], Seen]] = {
    **api.ROWS,
    **dispatchers.ROWS,
    **attempts.ROWS,
    **stages.ROWS,
    **database.ROWS,
    **network.ROWS,
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="the rows whose names hold these words")
    wanted = {name: row for name, row in ROWS.items() if options.parse_args().only in name}
    lines, wrong = ["| fault | done | seen | error kind |", "|---|---|---|---|"], 0
    with tempfile.TemporaryDirectory(prefix="rankloop-faults-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # the database server may run under another account
        with EmbeddedPostgres(Path(folder) / "server") as server:
            for number, (name, row) in enumerate(wanted.items(), start=1):
                print(f"{number} of {len(wanted)}: {name}", end=" ... ", file=sys.stderr, flush=True)
                began = time.monotonic()
                line, fine = look(row, Ground(Path(folder), server, number))
                print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
                lines.append(f"| {name} | {line}")
                wrong += not fine
    print("\n".join(lines))
    print(f"{len(wanted)} rows, {wrong} not as they must be")
    return 1 if wrong else 0


def look(row: Callable[[Ground], Seen], ground: Ground) -> tuple[str, bool]:
    """The rest of the row's line, and whether it is as it must be."""
    try:
        seen = row(ground)
    except NotHere as reason:
        return f"not made here: {reason} | | |", True
    except Exception as error:  # the other rows are to be seen, too
        traceback.print_exc()
        return f"**not as it must be** | {str(error).splitlines()[0][:200] if str(error) else repr(error)} | |", False
    return f"{seen.done} | {seen.seen} | {seen.kind} |", True


if __name__ == "__main__":
    sys.exit(main())
