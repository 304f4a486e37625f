"""A frozen snapshot becomes the JSONL file that a stage reads; its hash is checked on the way."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import Snapshot, SnapshotRow
from workers.stage.faults import AttemptError

ROWS_AT_ONCE = 2000


def write_snapshot(session: Session, snapshot_id: uuid.UUID, path: Path) -> None:
    """Write the snapshot's canonical lines, in order.

    Raises AttemptError(BAD_INPUT) when there is no such snapshot, AttemptError(CORRUPT_CHECKPOINT) when
    its rows no longer give the hash that was stored when it was frozen.
    """
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None:
        raise AttemptError(
            ErrorKind.BAD_INPUT,
            Sentence("no-snapshot", "There is no snapshot %(snapshot_id)s.", snapshot_id=snapshot_id),
            Sentence("create-anew", "Create the job anew."),
        )
    if snapshot.erased_at is not None:
        cause = Sentence(
            "snapshot-rows-erased",
            "Rows of snapshot %(snapshot_id)s were erased on %(erased_at)s.",
            snapshot_id=snapshot_id,
            erased_at=f"{snapshot.erased_at:%Y-%m-%d}",
        )
        raise AttemptError(
            ErrorKind.BAD_INPUT, cause, Sentence("freeze-and-create", "Freeze the data again and create the job anew.")
        )
    lines = select(SnapshotRow.line).where(SnapshotRow.snapshot_id == snapshot_id).order_by(SnapshotRow.position)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for line in session.scalars(lines.execution_options(yield_per=ROWS_AT_ONCE)):
            data = line.encode() + b"\n"
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != snapshot.sha256:
        raise AttemptError(
            ErrorKind.CORRUPT_CHECKPOINT,
            Sentence(
                "snapshot-changed",
                "The rows of snapshot %(snapshot_id)s hash to %(digest)s, it was frozen as %(sha256)s.",
                snapshot_id=snapshot_id,
                digest=digest.hexdigest(),
                sha256=snapshot.sha256,
            ),
            Sentence("snapshot-changed-next", "Freeze the data again; the database was changed by hand or is damaged."),
        )
