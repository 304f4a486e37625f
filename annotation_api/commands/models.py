"""`rankloop models ...`."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from typing import Any

from annotation_api.client import Client
from annotation_api.commands.output import emit, facts, table
from annotation_api.commands.references import register

COLUMNS = ("id", "kind", "name", "path", "created_at")


def list_models(client: Client, args: Namespace) -> int:
    rows = client.pages("/v1/models", args.limit, kind=args.kind)
    emit(rows) if args.json else table(rows, COLUMNS)
    return 0


def show(client: Client, args: Namespace) -> int:
    row = client.get(f"/v1/models/{args.model}")
    emit(row) if args.json else facts(row)
    return 0


def register_model(client: Client, args: Namespace) -> int:
    row = register(client, args.path, args.name)
    emit(row) if args.json else print(f"model {row['id']}: {row['name']}, {row['path']}")
    return 0


def check_folder(args: Namespace) -> int:
    """What a folder of this machine is; asks no service."""
    return _science("check", args.folder, *(["--json"] if args.json else []))


def convert_folder(args: Namespace) -> int:
    """A folder with pickled weights as a new one with safetensors; asks no service."""
    return _science("convert", args.folder, args.out)


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
    print(f"{'  ' * depth}{f'{relation}: ' if relation else ''}{node['type']} {node['label']} {key}{notes}{again}")
    if key in seen:
        return
    seen.add(key)
    for edge in edges:
        if edge["source"] == key:
            _branch(edges, nodes, edge["target"], edge["relation"], depth + 1, seen)
