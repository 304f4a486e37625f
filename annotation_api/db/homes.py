"""One database, one folder of files: every process that works for it must see the same RANKLOOP_HOME.

The folder has a mark, a file with an id; the database has the id of the folder that its artifacts lie in. A dispatcher
with another folder would make jobs succeed whose artifacts nobody finds.
"""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from annotation_api.db.tables import HomeRow

MARK = "home.id"


class OtherHome(Exception):
    """The folder is not the database's; the message says what to do."""


def settle(session: Session, home: Path) -> None:
    """Hold `home` against the database; the first that comes counts. Raises OtherHome."""
    known = session.scalar(select(HomeRow))
    if known is None:
        first = {"mark": mark_of(home), "path": str(home), "host": platform.node()}
        session.execute(insert(HomeRow).values(first).on_conflict_do_nothing())
        known = session.scalars(select(HomeRow)).one()
    if _read(home) != known.mark:
        raise OtherHome(
            f"RANKLOOP_HOME {home} is not the folder in which the files of this database lie, {known.path} on "
            f"{known.host}: give every process that one folder, shared, at the same path. If it is that very folder "
            f"and has lost its mark, write {known.mark} into {home / MARK}."
        )


def mark_of(home: Path) -> str:
    """The folder's id; a new one where it has none. Of several that ask at once, all get the same."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / MARK).exists():
        _write(home)
    return _read(home)


def _read(home: Path) -> str:
    try:
        return (home / MARK).read_text().strip()
    except FileNotFoundError:
        return ""


def _write(home: Path) -> None:
    """Whole or not at all, and never over another's: a link fails where the name is taken."""
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=f"{MARK}.") as file:
        file.write(f"{uuid.uuid4()}\n")
        file.flush()
        os.fchmod(file.fileno(), 0o600)
        try:
            os.link(file.name, home / MARK)
        except FileExistsError:
            return
