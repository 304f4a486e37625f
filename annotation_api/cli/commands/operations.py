"""`rankloop backup`, `restore`, `prune` and a part of `users`: for the machine that runs the service."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from annotation_api.cli.commands import users
from annotation_api.cli.output import emit, remark, say, table, unread
from annotation_api.db.engine import DatabaseUnavailable
from annotation_api.http.errors import ApiError
from annotation_api.operations import archive, doctor
from annotation_api.operations.archive import Advance
from annotation_api.operations.backup import Bar, backup
from annotation_api.operations.doctor import FindingState
from annotation_api.operations.local import OperationError
from annotation_api.operations.prune import prune
from annotation_api.operations.restore import restore
from annotation_api.settings import Settings, SettingsError

PIPE = Path("-")  # standard output of a backup, standard input of a restore


def run(args: argparse.Namespace) -> int:
    """Carry out the command; 0 when all went well, 1 when it was refused, failed, or files are missing or damaged."""
    try:
        return COMMANDS[args.command](Settings.from_environment(), args)
    except (OperationError, SettingsError, DatabaseUnavailable, ApiError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or args.command}: {error.strerror or error}"
        if isinstance(error, BrokenPipeError):
            if not _is_piped(args):  # what was to be done is done, and only its report unread
                raise
            unread()
    if not args.json:
        remark(f"rankloop {args.command}: {reason}")
    elif _is_piped(args):
        remark(json.dumps({"error": reason}, ensure_ascii=False))
    else:
        emit({"error": reason})
    return 1


def _is_piped(args: argparse.Namespace) -> bool:
    """Whether standard output is the archive's; then what is to be said goes to standard error."""
    return bool(args.command == "backup" and args.file == PIPE)


def _backup(settings: Settings, args: argparse.Namespace) -> int:
    piped = _is_piped(args)
    if piped and sys.stdout.isatty():
        raise OperationError("a backup does not belong on a terminal; name a file, or redirect: backup - > FILE.")
    with shown(args.json) as bar:
        report = backup(settings, sys.stdout.buffer if piped else args.file, bar)
    tell = remark if piped else say
    if args.json:
        tell(json.dumps(asdict(report), ensure_ascii=False))
    else:
        tell(f"{report.file}: {report.bytes} bytes, the database and {report.files} files.")
        remark(f"Not in it: {'; '.join(report.left_out)}. It holds hashes of passwords and keys: keep it safe.")
    return _damaged(report.damaged, args.json, "Missing or changed when the backup was made")


def _restore(settings: Settings, args: argparse.Namespace) -> int:
    with ExitStack() as undo:
        bar = undo.enter_context(shown(args.json))
        source = args.file
        if source == PIPE:
            source = undo.enter_context(archive.received(sys.stdin.buffer, settings.home.resolve()))
        report = restore(settings, source, bar)
    if args.json:
        emit(asdict(report))
    else:
        say(f"Restored the database and {report.files} files into {report.home}.")
        remark(f"{report.jobs_queued} jobs that were at work are queued again. People sign in anew.")
        remark(f"Not in the backup: {'; '.join(report.left_out)}.")
    return _damaged(report.damaged, args.json, "Missing or changed already when the backup was made")


def _prune(settings: Settings, args: argparse.Namespace) -> int:
    report = prune(settings, args.days, dry_run=args.dry_run)
    if args.json:
        emit(asdict(report))
        return 0
    if report.artifacts:
        table([asdict(artifact) for artifact in report.artifacts], ("job", "stage", "model", "finished", "bytes"))
    expired = ", ".join(f"{count} {name}" for name, count in report.expired.items())
    done = "Removed" if report.removed else "Would remove"
    say(f"{done}: {len(report.artifacts)} artifacts of {report.bytes} bytes; expired: {expired}.")
    if report.days is None:
        remark("Artifacts are kept: RANKLOOP_ARTIFACT_DAYS is not set; --days N says how old unused ones may get.")
    return 0


def _users(settings: Settings, args: argparse.Namespace) -> int:
    done = users.run(settings, args.subcommand, args.email, without_factor=getattr(args, "second_factor", False))
    if args.json:
        emit(asdict(done))
    elif done.url:
        say(f"With this link {done.email} sets a new password, once and within 24 hours: {done.url}")
    else:
        say(f"Done: {done.email}, {done.role}.")
    return 0


def _doctor(settings: Settings, args: argparse.Namespace) -> int:
    found = doctor.examine(settings)
    if args.json:
        emit([asdict(finding) for finding in found])
    else:
        table([asdict(finding) for finding in found], ("state", "check", "words"))
    return 1 if any(finding.state is FindingState.FAULT for finding in found) else 0


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "backup": _backup,
    "restore": _restore,
    "prune": _prune,
    "users": _users,
    "doctor": _doctor,
}


def _damaged(names: list[str], quiet: bool, when: str) -> int:
    """The exit code; the report has the names, too."""
    for name in () if quiet else names:
        remark(f"{when}: {name}")
    return 1 if names else 0


@contextmanager
def shown(quiet: bool) -> Iterator[Bar]:
    """Progress with rate and time left on standard error; nothing if `quiet` or if that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda text, total: lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:

        def begin(text: str, total: int | None) -> Advance:
            task = progress.add_task(text, total=total)
            return lambda count: progress.advance(task, count)

        yield begin
