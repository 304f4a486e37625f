"""`rankloop import`, `export`, `datasets` and `snapshots`."""

from __future__ import annotations

import json
import shlex
import sys
import time
import uuid
from argparse import Namespace
from pathlib import Path
from typing import Any

from annotation_api.cli import progress
from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.commands import folders
from annotation_api.cli.commands.labels import by_labels, tagged
from annotation_api.cli.output import emit, facts, remark, say, table
from annotation_api.cli.references import data_ref

SHOWN = 5  # refused rows that are told to a person; the JSON holds all
MAPPED_ROWS = 3  # records of a preview with --map that are told
WIDTH = 300  # characters of one
FREEZE_SECONDS = 1.0  # between two looks at a freeze
BEGINNING = 4 * 2**20  # bytes of a larger file that a preview looks at
NEEDS_ITS_END = (b"PAR1", b"PK\3\4", b"ARROW1")  # Parquet, zip, Arrow
COLUMNS = {"prompt": "Question", "response": "Answer", "chosen": "Better", "rejected": "Worse"}  # what a file may have
REPORT = ("dataset", "accepted", "duplicates", "rejected", "errors")
DATASETS = ("id", "name", "tags", "kind", "accepted", "duplicates", "rejected", "created_at")
SNAPSHOTS = ("id", "name", "tags", "kind", "rows", "sha256", "created_at")
MORE = ("kind", "format", "notes", "unused", "unknown")


def import_file(client: Client, args: Namespace) -> int:
    """Import a file, or only preview it; 0 when all its rows are good, 1 when something was refused."""
    source = Path(args.file)
    if not source.exists():
        raise ClientError(f"There is no file {source}.")
    with folders.as_file(source) as packed:
        return _import(client, source, packed, args)


def _import(client: Client, source: Path, packed: Path, args: Namespace) -> int:
    """`packed` is what is sent: the file itself, or the folder as a zip."""
    report = _upload(client, packed, args)
    beside = None
    if report["rejected"] and report["dataset"]:
        beside = _write_refused(source, packed, args, report["errors"])
    if args.json or not sys.stdout.isatty():  # scripts that do not ask for it have always read the report
        emit(report)
    if not args.json:
        _print(source, args, report, beside)
    return 1 if report["rejected"] else 0


def _upload(client: Client, source: Path, args: Namespace) -> dict[str, Any]:
    """The service's report, also when it refused the file for its rows."""
    fields = {"kind": args.kind, "format": args.format} | _mapping(args.map)
    most = BEGINNING if args.preview and not args.whole and _can_be_cut(source) else None
    if most:
        fields["beginning"] = "true"
    if not args.preview:
        fields |= {"skip_bad": str(args.skip_bad).lower()} | ({"project": args.project} if args.project else {})
    key, path = str(uuid.uuid4()), "/v1/datasets:preview" if args.preview else "/v1/datasets"
    try:
        with progress.shown(args.json) as bar, progress.polled(client, key, bar):
            report: dict[str, Any] = client.upload(path, source, fields, key=key, sent=bar.sent, most=most)
            return report
    except ClientError as error:
        if "rejected" not in error.body:
            raise
        return {name: error.body[name] for name in (*REPORT, *MORE) if name in error.body}


def _can_be_cut(source: Path) -> bool:
    """Whether the file is larger than its beginning, and of a kind that can be read without its end."""
    if source.stat().st_size <= BEGINNING:
        return False
    with source.open("rb") as stream:
        return not stream.read(8).startswith(NEEDS_ITS_END)


def _mapping(given: list[str]) -> dict[str, str]:
    """FIELD=COLUMN as the service takes it."""
    if not given:
        return {}
    pairs = dict(item.partition("=")[::2] for item in given)
    if len(pairs) < len(given) or not all(pairs.values()):
        raise ClientError("--map takes FIELD=COLUMN, each field once: --map prompt=Question --map response=Answer")
    return {"map": json.dumps(pairs)}


def _print(source: Path, args: Namespace, report: dict[str, Any], beside: Path | None) -> None:
    """The report in words; the errors first, what came of it last."""
    _print_errors(source, report)
    if args.preview:
        _print_preview(source, args, report)
    elif report["dataset"]:
        remark(f"Imported {report['accepted']} records as data set {report['dataset']}.")
    else:
        remark("Nothing was imported.")
    if beside:
        remark(f"The refused rows are in {beside}.")


def _print_preview(source: Path, args: Namespace, report: dict[str, Any]) -> None:
    if report.get("offered") and not report["accepted"]:
        words = " ".join(f"--map {field}={shlex.quote(column)}" for field, column in report["offered"].items())
        remark(f"A file with these columns was imported before with {words}")
    if args.map:
        for item in report.get("records", ())[:MAPPED_ROWS]:
            remark(f"row {item['row']} becomes {json.dumps(item['record'], ensure_ascii=False)[:WIDTH]}")
    if report.get("beginning"):
        remark(f"Only the first {BEGINNING // 2**20} MB of {source} were looked at; --whole looks at all of it.")
    remark(
        f"Preview: {report['accepted']} records, {report['duplicates']} duplicates, {report['rejected']} refused "
        f"(layout {report['format']}). Nothing was stored."
    )


def _print_errors(source: Path, report: dict[str, Any]) -> None:
    for error in report["errors"][:SHOWN]:
        row = f", row {error['row']}" if error["row"] else ""  # 0: the file as a whole
        field = f", {error['field']}" if error["field"] else ""
        remark(f"{source}{row}{field}: {error['message']}")
    if report.get("unknown"):
        remark(f"For example: {_example(report['kind'])}")
    if report["rejected"] > SHOWN:
        remark(f"... and {report['rejected'] - SHOWN} more rows")
    for note in report.get("notes", ()):
        remark(f"note: {note}")
    if report.get("unused"):
        remark(f"not used: {', '.join(f'{name} {count}' for name, count in report['unused'].items())}")


def _example(kind: str) -> str:
    """How the columns are named that records of the kind need."""
    from annotation_api.datasets.formats.mapping import NEEDED

    return " ".join(f"--map {field}={COLUMNS[field]}" for field in NEEDED[kind])


def _write_refused(source: Path, packed: Path, args: Namespace, errors: list[dict[str, Any]]) -> Path:
    """Each refused row with its reason and what it held, beside the source; whole or absent."""
    from annotation_api.datasets.files.source import Source

    reasons = {error["row"]: error for error in errors}
    target = source.with_name(f"{source.name}.refused.jsonl")
    part = target.with_name(target.name + ".part")
    try:
        with packed.open("rb") as stream, part.open("w", encoding="utf-8") as file:
            for number, value in Source(stream, as_csv=args.format == "csv"):
                if number in reasons:
                    file.write(json.dumps({**reasons[number], "source": _source(value)}, ensure_ascii=True) + "\n")
        part.replace(target)
    except OSError as error:
        raise ClientError(f"The refused rows cannot be written to {target}: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _source(value: Any) -> Any:
    """The row itself, or the text of one that could not be parsed."""
    return value if isinstance(value, dict) else value.source.decode("utf-8", errors="replace")


def export(client: Client, args: Namespace) -> int:
    """Write a snapshot to a file; a data set or project is frozen first."""
    reference = data_ref(client, args.source, default="snapshot")
    if "snapshot" in reference:
        snapshot = client.get(f"/v1/snapshots/{reference['snapshot']}")
    else:
        wanted = {"kind": _kind(client, reference, args), **reference, **_choice(args)}
        snapshot = _freeze(client, wanted, quiet=args.json)
    suffix = {"trl": "trl.jsonl", "records-parquet": "records.parquet"}.get(args.format, args.format)
    target = Path(args.out or f"snapshot-{snapshot['id']}.{suffix}")
    size = client.download(f"/v1/snapshots/{snapshot['id']}/export", target, format=args.format)
    shown = {key: snapshot[key] for key in ("id", "kind", "sha256", "rows")}
    if args.json:
        emit({"snapshot": shown, "file": str(target), "bytes": size})
    else:
        say(f"{target}: {size} bytes, snapshot {shown['id']} of {shown['rows']} {shown['kind']}")
    return 0


def _freeze(client: Client, body: dict[str, str], *, quiet: bool) -> dict[str, Any]:
    """The snapshot; of many rows once it is there, which is awaited."""
    answer: dict[str, Any] = client.post("/v1/snapshots", body)
    if "sha256" in answer:
        return answer
    while answer["state"] in ("queued", "running"):
        if not quiet:
            remark(f"Freezing: {answer['done']} of {answer['total']} rows, {answer['state']}.")
        time.sleep(FREEZE_SECONDS)
        answer = client.get(f"/v1/freezes/{answer['id']}")
    if answer["state"] == "failed":
        raise ClientError(answer["error"])
    snapshot: dict[str, Any] = client.get(f"/v1/snapshots/{answer['snapshot']}")
    return snapshot


def _choice(args: Namespace) -> dict[str, str]:
    """Which judgements of a project are frozen, where that was said."""
    return {name: value for name in ("adjudicated", "paused") if (value := getattr(args, name)) is not None}


def list_datasets(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/datasets", args.limit, kind=args.kind, **by_labels(args))
    emit(rows) if args.json else table([tagged(row) for row in rows], DATASETS)
    return 0


def list_snapshots(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/snapshots", args.limit, **by_labels(args))
    emit(rows) if args.json else table([tagged(row) for row in rows], SNAPSHOTS)
    return 0


def show(client: Client, args: Namespace) -> int:
    """One data set or snapshot: of what the command is called."""
    row = client.get(f"/v1/{args.command}/{getattr(args, args.command.removesuffix('s'))}")
    emit(row) if args.json else facts(row)
    return 0


def _kind(client: Client, reference: dict[str, str], args: Namespace) -> str:
    if args.kind:
        return str(args.kind)
    if "project" in reference:
        return "rankings"
    return str(client.get(f"/v1/datasets/{reference['dataset']}")["kind"])
