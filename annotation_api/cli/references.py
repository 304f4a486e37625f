"""How a command line names models and data: an id, or `kind:id`."""

from __future__ import annotations

import json
import uuid
from argparse import Namespace
from pathlib import Path
from typing import Any

from annotation_api.cli.client import Client, ClientError

DATA = ("dataset", "snapshot", "project")
MODELS = ("model", "alias", "job")


def by_names(client: Client, args: Namespace) -> None:
    """Names in the place of ids become ids, where a command takes one job or model."""
    for place, things in (("job", "jobs"), ("model", "models")):
        given = getattr(args, place, None)
        if isinstance(given, str):
            setattr(args, place, found_by_name(client, things, given))


def data_ref(client: Client, text: str, default: str = "dataset") -> dict[str, str]:
    """`ID`, `dataset:ID`, `snapshot:ID` or `project:ID`; a name may stand for the id."""
    return _ref(client, text, DATA, default)


def model_ref(client: Client, text: str) -> dict[str, str]:
    """A model that the registry knows or will know: `ID`, `model:ID`, `job:ID` or `alias:NAME`; names as above."""
    if not _in_registry(text):
        raise ClientError(f"{text!r} names no registered model; write its id, model:NAME, job:ID or alias:NAME.")
    return _ref(client, text, MODELS, "model")


def _in_registry(text: str) -> bool:
    kind, colon, _ = text.partition(":")
    return _is_id(text) or (bool(colon) and kind in MODELS)


def _ref(client: Client, text: str, kinds: tuple[str, ...], default: str) -> dict[str, str]:
    kind, colon, rest = text.partition(":")
    if not colon:
        kind, rest = default, text
    if kind not in kinds:
        raise ClientError(f"{text!r} names a {kind!r}; use an id or one of {', '.join(f'{k}:ID' for k in kinds)}.")
    if kind == "project" and not _is_id(rest):
        raise ClientError(f"{rest!r} is no id of a project; ids look like {uuid.UUID(int=0)}.")
    return {kind: rest if kind in ("alias", "project") else found_by_name(client, f"{kind}s", rest)}


def found_by_name(client: Client, things: str, text: str) -> str:
    """The id that a person means: it itself, or that of the only one of this name. `things` is the list's path."""
    if _is_id(text):
        return text
    rows = client.get(f"/v1/{things}", name=text, limit=3)["items"]
    if len(rows) == 1:
        return str(rows[0]["id"])
    if not rows:
        raise ClientError(f"{text!r} is neither an id nor a name among {things}; `rankloop` lists what there is.")
    ids = ", ".join(row["id"] for row in rows)
    raise ClientError(f"Several {things} are called {text!r}; name one by its id: {ids}.")


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def start_model(client: Client, text: str) -> dict[str, str]:
    """A model of the registry, or a folder or hub id, which is registered first."""
    if _in_registry(text):
        return model_ref(client, text)
    return {"model": str(register(client, text, None)["id"])}


def register(client: Client, path: str, name: str | None) -> dict[str, Any]:
    """Register a folder or hub id. A folder that is seen from here is sent by its full path."""
    folder = Path(path)
    full = str(folder.resolve()) if folder.is_dir() else path
    row: dict[str, Any] = client.post("/v1/models", {"name": name or Path(full).name, "path": full})
    return row


def settings(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs as settings; values are JSON where they can be, text otherwise; dots nest."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ClientError(f"{pair!r} is no setting; write key=value, for example learning_rate=1e-5.")
        *path, last = key.split(".")
        inner = result
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = _value(value)
    return result


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
