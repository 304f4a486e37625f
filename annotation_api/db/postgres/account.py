"""The operating-system user that runs the embedded Postgres, which refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation_api.db.engine import DatabaseUnavailable


class EmbeddedPostgresError(DatabaseUnavailable):
    """The embedded server cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a short command as this user, with none of our environment, and keep what it says."""
        if not self.is_us:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)

    def can_enter(self, path: Path) -> bool:
        """Whether this user may enter a directory, or execute a file, through all its parents."""
        return self.run(["test", "-x", str(path)], cwd="/").returncode == 0

    def own(self, path: Path) -> None:
        """Give a directory of ours to this user alone."""
        path.chmod(0o700)
        if not self.is_us:
            os.chown(path, self.uid, self.gid)


def our_name() -> str:
    """The name of the user who runs this process; Postgres' peer check goes by it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"User id {os.geteuid()} has no name on this machine, so the embedded Postgres cannot know it: "
            "add it to /etc/passwd, or set RANKLOOP_DATABASE_URL to a Postgres of your own."
        ) from None


def server_account() -> Account:
    """Ourselves; as root, the user `postgres`, or else `nobody`."""
    if os.geteuid() != 0:
        return Account(our_name(), os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "Postgres refuses to run as root and this machine has neither a user 'postgres' nor 'nobody': "
        "add one, run Rankloop as another user, or set RANKLOOP_DATABASE_URL."
    )
