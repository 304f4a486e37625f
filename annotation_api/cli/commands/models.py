"""`rankloop models ...`."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from alignment.untrusted.folder import is_usable
from annotation_api.cli.client import Client, ClientError
from annotation_api.cli.commands.labels import by_labels, tagged
from annotation_api.cli.output import emit, facts, remark, say, table
from annotation_api.cli.references import register

GONE = "urn:rankloop:not-found"
PART = 32 * 2**20  # bytes of a file that are sent at once
COLUMNS = ("id", "kind", "name", "tags", "path", "created_at")


def list_models(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/models", args.limit, kind=args.kind, **by_labels(args))
    emit(rows) if args.json else table([tagged(row) for row in rows], COLUMNS)
    return 0


def show(client: Client, args: Namespace) -> int:
    row = client.get(f"/v1/models/{args.model}")
    emit(row) if args.json else facts(row)
    return 0


def register_model(client: Client, args: Namespace) -> int:
    row = register(client, args.path, args.name)
    emit(row) if args.json else say(f"model {row['id']}: {row['name']}, {row['path']}")
    return 0


def upload(client: Client, args: Namespace) -> int:
    """Send a folder file by file, and have it checked; after a break `--resume` goes on where it stopped."""
    folder = Path(args.folder)
    files = sorted(path for path in _entries(folder) if is_usable(path.name))
    if not files:
        raise ClientError(f"{folder} holds no file of a model: weights as safetensors, settings, vocabulary.")
    path = "/v1/model-uploads"
    row = _resumed(client, f"{path}/{args.resume}", folder, files, args.name) if args.resume else None
    row = row or client.post(path, {"name": args.name or folder.resolve().name})
    at = f"{path}/{row['id']}"
    try:
        for file in files:
            _send(client, at, file, row["files"].get(file.name, 0), args.json)
        model = _finish(client, at, files, args.json)
    except ClientError as error:
        raise ClientError(_by_folder(folder, row, error), error.body) from None
    emit(model) if args.json else say(f"model {model['id']}: {model['name']}, {model['path']}")
    return 0


def _resumed(client: Client, at: str, folder: Path, files: list[Path], name: str | None) -> dict[str, Any]:
    """The upload that is to go on. What was taken out of the folder since stays in it, and is checked with the rest."""
    try:
        row: dict[str, Any] = client.get(at)
    except ClientError as error:
        said = f"{folder}: {error} {_anew(folder, name)}" if error.body.get("type") == GONE else str(error)
        raise ClientError(said, error.body) from None
    if lacking := sorted(row["files"].keys() - {file.name for file in files}):
        raise ClientError(
            f"{folder} lacks {', '.join(lacking)}, which the upload has. {_anew(folder, name or row['name'])}"
        )
    return row


def _anew(folder: Path, name: str | None) -> str:
    named = f" --name {shlex.quote(name)}" if name and name != folder.resolve().name else ""
    return f"To start anew: rankloop models upload {shlex.quote(str(folder))}{named}"


def _finish(client: Client, at: str, files: list[Path], quiet: bool) -> dict[str, Any]:
    """The model. A file that is another one than what has arrived of it, mended since, is sent again first."""
    hashes = {file.name: _sha256(file) for file in files}
    try:
        return dict(client.post(f"{at}:finish", {"sha256": hashes}))
    except ClientError as error:
        other = {problem["pointer"].removeprefix("/sha256/") for problem in error.body.get("errors", [])}
        changed = [file for file in files if file.name in other]
        if not changed:
            raise
    for file in changed:
        _send(client, at, file, 0, quiet)
    return dict(client.post(f"{at}:finish", {"sha256": hashes}))


def _by_folder(folder: Path, upload: dict[str, Any], error: ClientError) -> str:
    """What is wrong, by the folder as it was typed, and how the upload goes on, unless it is gone."""
    said = str(error).removeprefix("/files: ")
    if error.body.get("type") == GONE:
        return f"{folder}: {said} {_anew(folder, upload['name'])}"
    again = f"rankloop models upload {shlex.quote(str(folder))} --resume {upload['id']}"
    return f"{folder}: {said} To go on: {again}"


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ClientError(f"{folder} cannot be listed: {error.strerror or error}.") from None


def _send(client: Client, at: str, file: Path, offset: int, quiet: bool) -> None:
    """What is still missing of a file, part by part; an empty file is one part."""
    size = file.stat().st_size
    to = f"{at}/files/{file.name}"
    with file.open("rb") as stream:
        stream.seek(offset)
        while offset < size or (size == offset == 0):
            part = stream.read(PART)
            client.send_part(to, part, offset)
            offset += len(part)
            if not quiet and size > PART:
                remark(f"{file.name}: {offset / size:.0%}")
            if not part:
                return


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_folder(args: Namespace) -> int:
    """What a folder of this machine is; asks no service."""
    return _science("check", args.folder, *(["--json"] if args.json else []))


def convert_folder(args: Namespace) -> int:
    """A folder with pickled weights as a new one with safetensors; asks no service."""
    return _science("convert", args.folder, args.out, *(["--json"] if args.json else []))


def _science(*command: str) -> int:
    """In a process of its own: this program never loads a model library."""
    return subprocess.run([sys.executable, "-m", "alignment", *command], check=False).returncode


def lineage(client: Client, args: Namespace) -> int:
    """The graph back to the annotations, as a tree."""
    graph = client.get(f"/v1/models/{args.model}/lineage")
    if args.json:
        emit(graph)
    else:
        nodes = {node["id"]: node for node in graph["nodes"]}
        _branch(graph["edges"], nodes, graph["nodes"][0]["id"], "", 0, set())
    return 0


def _branch(
    edges: list[dict[str, Any]], nodes: dict[str, Any], key: str, relation: str, depth: int, seen: set[str]
) -> None:
    node = nodes[key]
    counted = node["facts"].get("submissions", {}).get("count")
    notes = f", {counted} submissions" if counted else ""
    again = " (see above)" if key in seen else ""
    say(f"{'  ' * depth}{f'{relation}: ' if relation else ''}{node['type']} {node['label']} {key}{notes}{again}")
    if key in seen:
        return
    seen.add(key)
    for edge in edges:
        if edge["source"] == key:
            _branch(edges, nodes, edge["target"], edge["relation"], depth + 1, seen)
