"""`rankloop doctor`: what a deployment leaves open, in words. It looks, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from annotation_api.audit import sealed
from annotation_api.db.audit import ledger, notes
from annotation_api.db.engine import make_engine
from annotation_api.db.migrate import is_current
from annotation_api.db.tables import ApiKey, Person, Role
from annotation_api.exposure import is_loopback
from annotation_api.operations.backup import LAST
from annotation_api.operations.local import local_database, refuse_no_home
from annotation_api.settings import Settings, sample_password
from annotation_api.worker_settings import remarks

ROOM_BYTES, ROOM_SHARE = 5 * 2**30, 0.1  # below both the disk is short
CLOCKS_APART = 5.0  # seconds
BACKUP_DAYS = 7
OLDEST_POSTGRES = 15
PRIVATE = ("logs", "uploads", "audit", "artifacts", "checkpoints", "credentials.json")  # below HOME


class FindingState(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it depends on where the service stands
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    check: str
    state: FindingState
    words: str


def examine(settings: Settings) -> list[Finding]:
    """All findings. Raises OperationError and DatabaseUnavailable when there is no database to look at."""
    with local_database(settings) as url:
        refuse_no_home(settings)
        found = [finding for look in LOOKS for finding in look(settings)]
        engine = make_engine(url, application_name="rankloop-doctor")
        try:
            current = is_current(engine)
            asked = (*OF_SERVER, *OF_TABLES) if current else OF_SERVER
            with Session(engine) as session:
                found += [_schema(current), *(finding for ask in asked for finding in ask(session, settings))]
        finally:
            engine.dispose()
    return found


# ---------------------------------------------------------------- settings and files


def _variables(_settings: Settings) -> Iterator[Finding]:
    for words in remarks(os.environ):
        yield Finding("settings", FindingState.WARNING, words)


def _exposure(settings: Settings) -> Iterator[Finding]:
    host = urlsplit(settings.public_url or "").hostname
    if settings.public_url is None:
        yield Finding("exposure", FindingState.OK, "RANKLOOP_PUBLIC_URL is not set: for this machine only.")
    elif not settings.tls and not is_loopback(host or ""):
        words = (
            "RANKLOOP_PUBLIC_URL is http://: passwords and keys travel in the clear. Put a proxy with TLS before it."
        )
        yield Finding("exposure", FindingState.FAULT, words)
    else:
        yield Finding("exposure", FindingState.OK, f"People come by {settings.public_url}.")
    if settings.published_on_loopback and settings.public_url and not is_loopback(host or ""):
        words = "RANKLOOP_PUBLISHED_ON_LOOPBACK is set although people come from elsewhere: unset it."
        yield Finding("exposure", FindingState.FAULT, words)


def _proxy(settings: Settings) -> Iterator[Finding]:
    if settings.tls and not settings.trusted_proxies:
        words = (
            "People come over HTTPS, so through a proxy, but RANKLOOP_TRUSTED_PROXIES is not set: the audit and the "
            "slowing of wrong tries see one address for everybody."
        )
        yield Finding("proxy", FindingState.FAULT, words)
    else:
        yield Finding("proxy", FindingState.OK, f"Believed: {', '.join(settings.trusted_proxies) or 'nobody'}.")


def _modes(settings: Settings) -> Iterator[Finding]:
    """Nobody else on this machine may read; going through the home is what the database's user needs."""
    home = settings.home.resolve()
    places = [(home, 0o066), *((home / name, 0o077) for name in PRIVATE)]
    open_ones = [path for path, bits in places if path.exists() and stat.S_IMODE(path.stat().st_mode) & bits]
    for path in open_ones:
        yield Finding("files", FindingState.FAULT, f"Others on this machine may read {path}: chmod go= {path}")
    if not open_ones:
        yield Finding("files", FindingState.OK, f"What lies in {home} is private.")


def _secrets(settings: Settings) -> Iterator[Finding]:
    if settings.database_url and sample_password(settings.database_url):
        yield Finding("secrets", FindingState.FAULT, "The database's password is a sample that anybody would try.")
    else:
        yield Finding("secrets", FindingState.OK, "No sample password is in use.")


def _second_factor(settings: Settings) -> Iterator[Finding]:
    if not settings.admin_second_factor and settings.public_url and settings.tls:
        words = "Admins may sign in with a password alone: set RANKLOOP_ADMIN_SECOND_FACTOR=true."
        yield Finding("second factor", FindingState.WARNING, words)


def _disk(settings: Settings) -> Iterator[Finding]:
    usage = shutil.disk_usage(settings.home.resolve())
    short = usage.free < ROOM_BYTES and usage.free < ROOM_SHARE * usage.total
    words = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} are free."
    yield Finding("disk", FindingState.WARNING if short else FindingState.OK, words)


def _backup(settings: Settings) -> Iterator[Finding]:
    path = settings.home / LAST
    if not path.exists():
        yield Finding(
            "backup", FindingState.WARNING, "No backup was made yet: rankloop backup FILE, and keep it elsewhere."
        )
        return
    made = datetime.fromisoformat(json.loads(path.read_text())["at"])
    days = (datetime.now(UTC) - made).days
    late = FindingState.WARNING if days >= BACKUP_DAYS else FindingState.OK
    yield Finding("backup", late, f"The newest backup is {days} days old.")


LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _variables,
    _exposure,
    _proxy,
    _modes,
    _secrets,
    _second_factor,
    _disk,
    _backup,
)


# ---------------------------------------------------------------- the database


def _schema(current: bool) -> Finding:
    words = "The tables are of this version." if current else "The tables are of another version: rankloop migrate"
    return Finding("versions", FindingState.OK if current else FindingState.FAULT, words)


def _server(session: Session, _settings: Settings) -> Iterator[Finding]:
    major = session.scalar(text("SELECT current_setting('server_version_num')::int / 10000")) or 0
    fine = major >= OLDEST_POSTGRES
    yield Finding("versions", FindingState.OK if fine else FindingState.FAULT, f"Postgres is {major}.")


def _role(session: Session, _settings: Settings) -> Iterator[Finding]:
    mighty = "SELECT rolname, rolsuper OR rolcreaterole OR rolreplication FROM pg_roles WHERE rolname = current_user"
    name, too_much = session.execute(text(mighty)).one()
    if too_much:
        words = f"The database role {name} may do more than it needs: ALTER ROLE {name} NOSUPERUSER NOCREATEROLE"
        yield Finding("database role", FindingState.FAULT, f"{words} NOREPLICATION.")
    else:
        yield Finding("database role", FindingState.OK, f"The role {name} is a plain one.")


def _clock(session: Session, _settings: Settings) -> Iterator[Finding]:
    apart = abs(_now_of(session.connection()) - time.time())
    fine = apart < CLOCKS_APART
    words = f"The clocks of this machine and of the database are {apart:.1f} s apart."
    yield Finding(
        "clock",
        FindingState.OK if fine else FindingState.WARNING,
        words if fine else f"{words} Codes of apps need it right.",
    )


def _now_of(connection: Connection) -> float:
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _admins(session: Session, settings: Settings) -> Iterator[Finding]:
    admins = session.scalars(select(Person).where(Person.role == Role.ADMIN, Person.active)).all()
    bare = sum(person.second_factor_at is None for person in admins)
    if len(admins) < 2:
        words = "One admin alone: make a second one, or keep `rankloop users promote` in mind."
        yield Finding(
            "accounts", FindingState.WARNING, words if admins else "There is no admin yet: open the set-up link."
        )
    if bare and settings.public_url:
        yield Finding("accounts", FindingState.WARNING, f"{bare} of {len(admins)} admins have no second factor.")
    endless = session.scalar(select(func.count()).where(ApiKey.expires_at.is_(None), ApiKey.revoked_at.is_(None)))
    if endless:
        yield Finding("accounts", FindingState.WARNING, f"{endless} API keys never end.")
    if len(admins) >= 2 and not endless and not (bare and settings.public_url):
        yield Finding("accounts", FindingState.OK, f"{len(admins)} admins.")


def _audit(session: Session, settings: Settings) -> Iterator[Finding]:
    chain = ledger.verify(session, *notes.newest(settings.home), *sealed.ends(settings.home))
    for what, verdict in (("audit", chain), ("audit files", sealed.check(settings.home))):
        if verdict.broken is None:
            words = f"All {verdict.rows} rows hold." if verdict.rows else NONE_YET[what]
            yield Finding(what, FindingState.OK, words)
        else:
            yield Finding(what, FindingState.FAULT, f"Row {verdict.broken} does not hold: {verdict.reason}")


NONE_YET = {
    "audit": "There is no row yet.",
    "audit files": f"No file is sealed yet: the first is when there are {sealed.SEGMENT} rows.",
}
Question = Callable[[Session, Settings], Iterator[Finding]]
OF_SERVER: tuple[Question, ...] = (_server, _role, _clock)
OF_TABLES: tuple[Question, ...] = (_admins, _audit)  # of this version


def home_mode(as_root: bool) -> int:
    """Of RANKLOOP_HOME: nobody else reads it; under root the database's own user must get through."""
    return 0o711 if as_root else 0o700


def close(home: Path, as_root: bool, ours: int) -> None:
    """Shut the home and what is private in it to others, as far as it is ours."""
    for path, mode in ((home, home_mode(as_root)), *((home / name, 0o700) for name in PRIVATE[:-1])):
        if path.is_dir() and path.stat().st_uid == ours:
            path.chmod(mode)
