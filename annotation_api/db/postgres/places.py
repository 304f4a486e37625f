"""Where the embedded Postgres keeps its data and its socket, and the lock that gives it one owner."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from annotation_api.db.postgres.account import Account, EmbeddedPostgresError
from annotation_api.db.postgres.programs import SHARED

SOCKET_BYTES = 103  # the shortest limit of a socket's path among Linux and macOS, less its end
TEMPORARY = Path("/tmp")  # not tempfile's choice: macOS's own temporary folder has a long path
RECORD = "postgres.json"


@dataclass(frozen=True)
class Places:
    data: Path
    sockets: Path

    def tidy(self) -> None:
        """Remove a socket folder that had to be made elsewhere."""
        if self.sockets.parent == TEMPORARY:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def fresh_staging(self, account: Account) -> Path:
        """An empty folder of `account` beside the data directory, in which initdb may work."""
        staging = self.data.with_name(f"{self.data.name}.new")
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        account.own(staging)
        return staging


def find_places(home: Path, account: Account, sockets: Path | None = None) -> Places:
    """The places recorded in `home`/postgres.json, or new ones, then recorded; `sockets` is kept if it is there.

    Data lie in `home`/postgres. Where the server's user cannot reach that (a home inside root's own), they
    lie below /var/lib/rankloop: the rights of folders that are not ours are never changed.
    """
    record = home / RECORD
    if record.exists():
        data = home / json.loads(record.read_text())["data"]
    elif account.can_enter(home):
        data = home / "postgres"
    else:
        data = _shared_folder(home) / "postgres"
    if not data.parent.is_dir():
        raise EmbeddedPostgresError(
            f"{record} says that the data are at {data}, which is gone. Bring the folder back, or remove {record} "
            "to begin with an empty database."
        )
    if data.exists() and data.stat().st_uid != account.uid:
        raise EmbeddedPostgresError(
            f"{data} belongs to user id {data.stat().st_uid}, but the server would run as {account.name} "
            f"({account.uid}): run Rankloop as the user who made it, or choose another RANKLOOP_HOME."
        )
    places = Places(data, sockets if sockets and sockets.is_dir() else _socket_folder(data.parent, account))
    recorded = data.relative_to(home) if data.is_relative_to(home) else data  # so that `home` may be moved
    record.write_text(json.dumps({"data": str(recorded)}) + "\n")
    return places


def _shared_folder(home: Path) -> Path:
    folder = SHARED / hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for ours in (SHARED, folder):
        ours.chmod(0o755)
    return folder


def _socket_folder(beside: Path, account: Account) -> Path:
    """A folder that only `account` (and root) may enter, with a path short enough for a socket."""
    folder = beside / "sockets"
    if len(os.fsencode(folder / ".s.PGSQL.5432")) > SOCKET_BYTES:
        folder = Path(tempfile.mkdtemp(prefix="rankloop-", dir=TEMPORARY))
    folder.mkdir(exist_ok=True)
    account.own(folder)
    return folder


class OwnerLock:
    """A file lock that the kernel drops when its owner dies; the file names the owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    @property
    def is_taken(self) -> bool:
        """By us."""
        return self._file is not None

    def take(self) -> None:
        """Become the owner, or raise EmbeddedPostgresError that names the other one."""
        if self._file is not None:
            return
        file = self.path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise EmbeddedPostgresError(
                f"The database in {self.path.parent} is in use by {owner}. Stop that one, "
                "or set RANKLOOP_HOME to another folder."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} ({Path(sys.argv[0]).name})")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
