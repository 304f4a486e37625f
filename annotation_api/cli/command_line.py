"""`rankloop`: run the service, and talk to it from a terminal or a script.

    rankloop up
    rankloop import rankings.jsonl.gz --as rankings
    rankloop pipeline run --base MODEL --demonstrations DATASET --preferences DATASET --watch

Client commands use the REST API only. Nothing here loads a model library.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from annotation_api.cli import completion, run_parsers
from annotation_api.cli.client import Client, ClientError, find_credentials
from annotation_api.cli.commands import admin, data, prepare, quality
from annotation_api.cli.output import emit, remark, unread
from annotation_api.cli.parsers import Parser, ShowVersion, Sub, client_command, command, group, listens, values
from annotation_api.cli.problems import told
from annotation_api.cli.references import by_names
from annotation_api.datasets.export_formats import ExportFormat
from annotation_api.datasets.layouts import Format
from annotation_api.db.kinds import Adjudicated, DatasetKind, PausedPeople, Role
from annotation_api.processes.part import Part

COLLECTED = (DatasetKind.ANSWERS.value, DatasetKind.VERDICTS.value)  # made in projects; exported, never imported
EXITS = {
    0: "All went well.",
    1: "Something was refused, has failed, or is missing or damaged, and a sentence says what. So ends `import` where "
    "any row was refused, with --skip-bad, too, which imports the others; `--validate` and `--preview` of what could "
    "not be made; a command that waits for a job that does not succeed; `doctor` and `audit verify` that find a fault.",
    2: "What was typed is no command, or lacks something; nothing was done. Words say so, with `--json`, too.",
    130: "Ctrl-C. A job that was watched goes on. `up` and `serve` end with 0: that is how they are stopped.",
}
FOR_ADMINS = "needs a key of the role admin"
KINDS = tuple(kind.value for kind in DatasetKind if kind.value not in COLLECTED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of EXITS."""
    parser = _parser()
    completion.offer(parser)
    args = parser.parse_args(argv)
    try:
        return _command(args)
    except KeyboardInterrupt:
        return 130


def _command(args: argparse.Namespace) -> int:
    if args.command == "up":
        from annotation_api import up

        return up.main(args.host, args.port, args.json)
    if args.command == "serve":
        from annotation_api.processes import serve

        return serve.main([Part(name) for name in args.parts], args.host, args.port)
    if args.command == "migrate":
        from annotation_api import up

        return up.migrate(args.json)
    if args.command == "demo":
        from annotation_api import demo

        return demo.main(args.out, args.seed, args.json, args.keep)
    if args.command in ("backup", "restore", "prune", "doctor") or getattr(args, "on_machine", False):
        from annotation_api.cli.commands import operations

        return _as_far_as_read(operations.run, args)
    here = getattr(args, "here", None)  # it asks no service
    return _as_far_as_read(here or _client_command, args)


def _as_far_as_read(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Its exit code; 0 where who reads it has enough: `rankloop ... | head`."""
    try:
        return run(args)
    except BrokenPipeError:
        unread()
        return 0


def _client_command(args: argparse.Namespace) -> int:
    try:
        client = Client(find_credentials())
        with client.http:
            by_names(client, args)
            code: int = args.run(client, args)
            return code
    except ClientError as error:
        if args.json:
            emit({"error": str(error), **({"problem": error.body} if error.body else {})})
            return 1
        remark(f"rankloop: {error}")
        for problem in error.body.get("errors", [])[1:]:
            remark(f"rankloop: {told(problem)}")
        return 1


def _parser() -> Parser:
    parser = Parser(
        prog="rankloop",
        description="From human rankings to an aligned language model.",
        epilog="Each command has a --help of its own. A command prints words, and with --json nothing but JSON. Exit "
        "codes: 0 all went well, 1 something was refused or failed, 2 it was typed wrongly, 130 Ctrl-C.",
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="say which version this is")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_service(commands)
    _add_data(commands)
    _add_prepare(commands)
    _add_instruct(commands)
    run_parsers.add_jobs(commands)
    run_parsers.add_pipeline(commands)
    run_parsers.add_models(commands)
    run_parsers.add_kept(commands)
    run_parsers.add_compare(commands)
    quality.add(commands)
    _add_users(commands)
    _add_audit(commands)
    _add_operations(commands)
    shell = command(commands, "completion", 'what tab offers, names too: eval "$(rankloop completion bash)"')
    shell.add_argument("shell", choices=completion.SHELLS, help="yours")
    shell.set_defaults(here=completion.script)
    return parser


def _add_service(commands: Sub[Parser]) -> None:
    up = command(commands, "up", "run the whole service in the foreground")
    listens(up)
    serve = command(commands, "serve", "run parts of it in the foreground, for containers and supervisors")
    serve.add_argument("parts", metavar="PART", nargs="+", choices=values(Part), help=", ".join(Part))
    listens(serve)
    migrate = command(commands, "migrate", "bring a database up to date; print the set-up link if there is no admin")
    demo = command(commands, "demo", "run the closed loop on the toy world")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the report (runs/demo)")
    demo.add_argument("--seed", type=int, default=0, help="another world (0)")
    demo.add_argument("--keep", action="store_true", help="leave the service running afterwards, to look round in it")
    for parser in (up, migrate, demo):
        parser.add_argument("--json", action="store_true", help="print JSON only")


def _add_data(commands: Sub[Parser]) -> None:
    add = client_command(commands, "import", data.import_file, "import a file, whole or not at all")
    add.add_argument(
        "file", metavar="FILE", help="JSON, CSV, Parquet or Arrow; plain, gzip, zstd or zip; or a folder of `datasets`"
    )
    add.add_argument("--as", dest="kind", type=_importable, choices=KINDS, required=True, help="what the rows become")
    add.add_argument("--format", choices=values(Format), default="auto", help="layout of the rows; auto looks at them")
    add.add_argument(
        "--map", action="append", default=[], metavar="FIELD=COLUMN",
        help="which column holds a field, in place of a layout: prompt=Question; once for each field",
    )  # fmt: skip
    add.add_argument("--project", metavar="P", help="id or name of a project that the data belong to")
    add.add_argument(
        "--skip-bad",
        action="store_true",
        help="import the good rows; the others go to a file beside, and the exit code is 1",
    )
    add.add_argument("--preview", action="store_true", help="say what importing would give; store nothing")
    add.add_argument("--whole", action="store_true", help="with --preview: look at all of a file, not its first 4 MB")
    out = client_command(
        commands, "export", data.export, "write a snapshot to a file; freeze a data set or project first"
    )
    out.add_argument("source", metavar="SNAPSHOT", help="snapshot, dataset:ID or project:ID; names, too")
    out.add_argument(
        "--format",
        choices=values(ExportFormat),
        default="jsonl",
        help="jsonl and records-parquet: the records in full; trl, parquet and csv: TRL's columns",
    )
    out.add_argument(
        "--as", dest="kind", choices=values(DatasetKind), help="freeze as this kind; unset: as the source is"
    )
    out.add_argument(
        "--adjudicated",
        choices=values(Adjudicated),
        help="of a project: what reviewers decided stands instead of the votes (unset), beside them, or is ignored",
    )
    out.add_argument(
        "--paused", choices=values(PausedPeople), help="of a project: answers of paused people are out (unset) or in"
    )
    out.add_argument("--out", metavar="FILE", help="unset: snapshot-ID and the format, here")


def _add_prepare(commands: Sub[Parser]) -> None:
    add = client_command(
        commands, "prepare", prepare.run, "show what a preparation of data would leave; --keep keeps it"
    )
    add.add_argument("data", metavar="DATA", help="data set id, snapshot:ID; or job:ID of a preparation that was shown")
    add.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a step: duplicates=near, personal=mask, ..."
    )
    add.add_argument("--evaluation", metavar="DATA", help="leave out what asks the same as these prompts")
    add.add_argument("--against", metavar="DATA", help="leave out what is in these data, too")
    add.add_argument("--tokenizer", metavar="MODEL", help="say how long the records are for this model")
    add.add_argument("--keep", action="store_true", help="write the new data set")
    add.add_argument("--name", help="of the new data set")
    add.add_argument("--undo", action="store_true", help="remove a data set that a preparation made")


def _add_instruct(commands: Sub[Parser]) -> None:
    add = client_command(commands, "instruct", prepare.instruct, "make instructions from seeds (self-instruct)")
    add.add_argument("data", metavar="SEEDS", help="demonstrations: data set id, snapshot:ID; or job:ID of such a job")
    add.add_argument(
        "--model", dest="start", metavar="MODEL", help="who answers: id or name, job:ID, alias:NAME or folder"
    )
    add.add_argument("--teacher", metavar="NAME", help="or an endpoint that RANKLOOP_TEACHERS allows")
    add.add_argument("--teacher-model", metavar="NAME", help="the endpoint's name of its model")
    add.add_argument("--count", type=int, metavar="N", help="how many, up to 5000 (100)")
    add.add_argument("--language", metavar="en|zh", help="of seeds and instructions (en)")
    add.add_argument("--makes", metavar="KIND", help="demonstrations (unset), or prompts")
    add.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting")
    add.add_argument("--gpus", type=float, default=0, help="for the model (0)")
    add.add_argument("--keep", action="store_true", help="write the new data set")
    add.add_argument("--name", help="of the new data set")


def _importable(kind: str) -> str:
    if kind in COLLECTED:
        raise argparse.ArgumentTypeError(f"{kind} are collected in projects and never imported; `export` writes them")
    return kind


def _add_users(commands: Sub[Parser]) -> None:
    inner = group(commands, "users", "accounts; needs a key of the role admin, or the machine that runs the service")
    everybody = client_command(inner, "list", admin.list_users, f"everybody; {FOR_ADMINS}")
    everybody.add_argument("--limit", type=int, default=200, help="rows at most (200)")
    invite = client_command(inner, "invite", admin.invite, f"a link that makes one account; {FOR_ADMINS}")
    invite.add_argument("--role", choices=values(Role), default="annotator", help="of the new account (annotator)")
    for name, text in (
        ("reset", "a link for a new password; on the machine that runs the service"),
        ("unlock", "forget the wrong tries at an account; on the machine that runs the service"),
        ("promote", "make an admin of somebody; on the machine that runs the service"),
    ):
        here = command(inner, name, text)
        here.add_argument("email", metavar="E-MAIL", help="of the account")
        here.add_argument("--json", action="store_true", help="print JSON only")
        here.set_defaults(on_machine=True)
        if name == "reset":
            here.add_argument("--second-factor", action="store_true", help="take the second factor away, too")


def _add_audit(commands: Sub[Parser]) -> None:
    inner = group(commands, "audit", f"who did what; {FOR_ADMINS}")
    listing = client_command(inner, "list", admin.list_rows, f"newest first; {FOR_ADMINS}")
    listing.add_argument("--action", metavar="WORDS", help="part of the method and route")
    listing.add_argument("--person", metavar="ID", help="only what they did")
    listing.add_argument("--limit", type=int, default=50, help="rows at most (50)")
    check = client_command(inner, "verify", admin.verify, f"check that no row was changed or taken out; {FOR_ADMINS}")
    check.add_argument("--noted", metavar="ROW:SEAL", help="a row that was printed earlier, which must be there still")


def _add_operations(commands: Sub[Parser]) -> None:
    """Commands for the machine that runs the service."""
    save = command(commands, "backup", "write database and files into one archive, while the service runs")
    save.add_argument(
        "file", type=Path, metavar="FILE", help="a new file, or - for a pipe; it holds people's data, no sign-ins"
    )
    load = command(commands, "restore", "bring a backup back into an empty RANKLOOP_HOME and database")
    load.add_argument("file", type=Path, metavar="FILE", help="or - for a pipe")
    clear = command(commands, "prune", "remove artifacts that nothing needs, and what has expired")
    clear.add_argument("--dry-run", action="store_true", help="only list what would go")
    clear.add_argument("--days", type=int, metavar="N", help="unused artifacts older than this; unset: as configured")
    look = command(commands, "doctor", "say what this deployment leaves open; 1 if something is at fault")
    for parser in (save, load, clear, look):
        parser.add_argument("--json", action="store_true", help="print JSON only")


if __name__ == "__main__":
    sys.exit(main())
