"""Open-Assistant's flat messages as the trees that they are: one row a tree, as its other export has it.

The messages of a tree stand together in the public files; a tree that comes up again later is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.files.json_rows import Numbered
from annotation_api.datasets.values import Refused

FLAT = frozenset({"message_id", "parent_id", "role", "text"})


def is_flat(value: object) -> bool:
    """Whether a row is one message of a tree."""
    return isinstance(value, dict) and value.keys() >= FLAT


def trees(rows: Iterable[Numbered]) -> Iterator[Numbered]:
    """The rows, with each run of messages of one tree as one row, numbered as its first message."""
    run: list[tuple[int, dict[str, Any]]] = []
    done: set[str] = set()
    for number, value in rows:
        if run and (not is_flat(value) or _tree_of(value) != _tree_of(run[0][1])):  # type: ignore[arg-type]
            yield _tree(run, done)
            run = []
        if isinstance(value, dict) and is_flat(value):
            run.append((number, value))
        else:
            yield number, value
    if run:
        yield _tree(run, done)


def _tree_of(row: dict[str, Any]) -> str:
    return str(row.get("message_tree_id") or "")


def _tree(run: list[tuple[int, dict[str, Any]]], done: set[str]) -> Numbered:
    number, key = run[0][0], _tree_of(run[0][1])
    if key in done:
        return number, Refused(
            "message_tree_id",
            Sentence("came-before", "came before: sort the file so that a tree's messages stand together"),
        )
    done.add(key)
    nodes = {str(row["message_id"]): {**row, "replies": []} for _, row in run}
    roots = []
    for _, row in run:
        node, parent = nodes[str(row["message_id"])], row["parent_id"]
        if parent in (None, "", "None", "null"):
            roots.append(node)
        elif str(parent) in nodes:
            nodes[str(parent)]["replies"].append(node)
        else:
            return number, Refused(
                "parent_id",
                Sentence(
                    "no-message-of-tree",
                    "%(parent)s is no message of this tree in this file",
                    parent=f"{str(parent)[:60]!r}",
                ),
            )
    if len(roots) != 1:
        return number, Refused(
            "parent_id",
            Sentence("tree-roots", "the tree has %(roots)s messages without a parent; it needs one", roots=len(roots)),
        )
    tree = {"prompt": roots[0], "message_tree_id": key}
    state = run[0][1].get("tree_state")
    return number, tree | ({"tree_state": state} if state is not None else {})
