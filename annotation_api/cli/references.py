"""How a command line names models and data: an id, or `kind:id`."""

from __future__ import annotations

import json
import shlex
import uuid
from argparse import Namespace
from pathlib import Path
from typing import Any

from annotation_api.cli.client import Client, ClientError

DATA = ("dataset", "snapshot", "project")
MODELS = ("model", "alias", "job")
MOST = 10_000  # things of a list that are looked through
# How a person sees what there is.
LISTERS = {name: f"`rankloop {name} list`" for name in ("jobs", "models", "datasets", "snapshots")}
LISTERS |= {"pipelines": "`rankloop pipeline list`"}
ELSEWHERE = {
    "datasets": " What people said in a project is project:NAME.",
    "snapshots": " A data set is dataset:NAME, what people said in a project project:NAME.",
}


def by_names(client: Client, args: Namespace) -> None:
    """Names in the place of ids become ids, where a command takes one thing."""
    for place in ("job", "pipeline", "model", "dataset", "snapshot"):
        given = getattr(args, place, None)
        if isinstance(given, str):
            setattr(args, place, found_by_name(client, f"{place}s", given))


def data_ref(client: Client, text: str, default: str = "dataset") -> dict[str, str]:
    """`ID`, `dataset:ID`, `snapshot:ID` or `project:ID`; a name may stand for the id."""
    return _ref(client, text, DATA, default)


def model_ref(client: Client, text: str) -> dict[str, str]:
    """A model that the registry knows or will know: `ID`, `model:ID`, `job:ID` or `alias:NAME`; names as above."""
    if not _in_registry(text) and not _called(client, "models", text):
        raise ClientError(f"{text!r} names no registered model; write its id or name, job:ID or alias:NAME.")
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
    if kind == "project":
        return {kind: project_id(client, rest)}
    return {kind: rest if kind == "alias" else found_by_name(client, f"{kind}s", rest)}


def project_id(client: Client, text: str) -> str:
    """The id of a project that is named by it or by its name."""
    if _is_id(text):
        return text
    named = [str(row["id"]) for row in client.pages("/v1/projects", MOST) if row["name"] == text]
    if not named:
        raise ClientError(f"There is no project named {text!r} that you see.")
    return _the_only(named, "projects", text)


def person_id(client: Client, text: str) -> str:
    """The id of a person who is named by it, by address or by pseudonym."""
    if _is_id(text):
        return text
    people = client.pages("/v1/people", MOST)
    called = [str(row["id"]) for row in people if text.lower() in (row["email"].lower(), row["pseudonym"])]
    if not called:
        raise ClientError(f"There is nobody with the address or pseudonym {text!r}; `rankloop users list` shows all.")
    return _the_only(called, "people", text)


def found_by_name(client: Client, things: str, text: str) -> str:
    """The id that a person means: it itself, or that of the only one of this name. `things` is the list's path."""
    if _is_id(text):
        return text
    rows = _called(client, things, text)
    if not rows:
        if things == "datasets" and Path(text).is_file():
            raise ClientError(f"{text!r} is a file here: first `rankloop import {shlex.quote(text)} --as KIND`.")
        more = ELSEWHERE.get(things, "")
        raise ClientError(f"{text!r} is neither an id nor a name among {things}; {LISTERS[things]} shows them.{more}")
    return _the_only([str(row["id"]) for row in rows], things, text)


def _called(client: Client, things: str, text: str) -> list[dict[str, Any]]:
    """Some of this very name: none where nothing can be called so, as when it is too long."""
    try:
        return list(client.get(f"/v1/{things}", name=text, limit=3)["items"])
    except ClientError as error:
        if not any(problem["pointer"] == "query:name" for problem in error.body.get("errors", ())):
            raise
        return []


def _the_only(ids: list[str], things: str, text: str) -> str:
    if len(ids) > 1:
        raise ClientError(f"Several {things} are called {text!r}; name one by its id: {', '.join(ids)}.")
    return ids[0]


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def start_model(client: Client, text: str, *, new: bool = True) -> dict[str, str]:
    """A model of the registry by id or name; or a folder or hub id, which is registered first, if it may be `new`."""
    if _in_registry(text):
        return model_ref(client, text)
    if not text.startswith((".", "/")):  # these begin a path
        rows = _called(client, "models", text)
        elsewhere = [str(row["id"]) for row in rows if row["path"] != _full(text)]
        if elsewhere and Path(text).is_dir():
            words = f"write model:{text}, or its id, for the model and ./{text} for the folder"
            raise ClientError(f"{text!r} is the name of model {', '.join(elsewhere)} and of a folder here; {words}.")
        if elsewhere:
            return {"model": _the_only([str(row["id"]) for row in rows], "models", text)}
    return {"model": str(register(client, text, None)["id"]) if new else _registered(client, text)}


def _registered(client: Client, path: str) -> str:
    """The newest base model that lies there; where there is none, how one is made."""
    rows = client.pages("/v1/models", MOST, kind="base")
    found = next((row["id"] for row in rows if row["path"] == _full(path) and row.get("removed_at") is None), None)
    if found is None:
        then = f"register it first: rankloop models register {shlex.quote(path)}"
        raise ClientError(f"{path!r} is no registered model, and --validate creates nothing; {then}")
    return str(found)


def _full(path: str) -> str:
    """As the service knows what lies here: a folder by its full path, a hub id as it is."""
    folder = Path(path)
    return str(folder.resolve()) if folder.is_dir() else path


def register(client: Client, path: str, name: str | None) -> dict[str, Any]:
    """Register a folder or hub id. A folder that is seen from here is sent by its full path."""
    full = _full(path)
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
