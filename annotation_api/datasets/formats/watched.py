"""A row that remembers which of its fields a reader looked at, so that what was not read can be named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import Note

MAX_NAMES = 200  # fields that are counted by name; a file can invent one a row
MAX_NAME = 100  # characters of one
OTHERS = "…"

# Fields that say how good a response is, how much a row counts, or what else belongs to the prompt.
MEANING = frozenset(
    {"weight", "margin", "strength", "score", "scores", "score_chosen", "score_rejected", "rating", "ratings"}
    | {"rating_chosen", "rating_rejected", "chosen_rating", "rejected_rating", "helpfulness", "correctness"}
    | {"chosen_score", "rejected_score", "rejected", "rejected_response", "rejected_messages", "toxic", "redacted"}
    | {"deleted", "spam", "is_safe", "label", "tools", "functions", "system", "system_prompt", "history"}
    | {"tie", "is_tie", "preference", "winner", "flagged", "quality", "review_result", "reward", "rank"}
    | {"magnitude", "reasoning_content", "thinking"}
    | {"chosen_avg_rating", "rejected_avg_rating", "images", "image", "videos", "video", "audios", "audio"}
)
THOUGHT = frozenset({"reasoning_content", "thinking"})  # beside what a turn says, where a model thought first
FLAGS = frozenset(
    {"toxic", "redacted", "deleted", "spam", "tie", "is_tie", "flagged"}
)  # of these only what is true says anything


class WatchedRow(dict[str, Any]):
    """Looking a field up marks it as read; listing the fields does not."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__({name: _watched(value) for name, value in row.items()})
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def unread(self) -> list[str]:
        """Fields with something in them that nobody asked for, also inside of those that were read in part."""
        found: dict[str, None] = {}
        for name, value in self.items():
            if name in self.read:
                found |= dict.fromkeys(f"{name}{inner}" for inner in _unread_inside(value))
            elif value not in (None, "", [], {}):
                found[name] = None
        return list(found)


def _watched(value: Any) -> Any:
    if isinstance(value, dict):
        return WatchedRow(value)
    return [_watched(item) for item in value] if isinstance(value, list) else value


def _unread_inside(value: Any) -> Iterator[str]:
    """Of an object of which some fields were looked at; one that was taken whole has none."""
    if isinstance(value, WatchedRow) and value.read:
        yield from (f".{name}" for name in value.unread())
    elif isinstance(value, list):
        for item in value:
            yield from (f"[]{name}" for name in _unread_inside(item))


def meant(name: str, value: Any) -> Iterator[Note]:
    """What is said of an unread field that changes what the row means."""
    inner = "." in name and name.rpartition(".")[2] in THOUGHT
    plain = name.rpartition(".")[2] if inner else name.lower().replace("-", "_").replace(" ", "_")
    if plain in MEANING and not (plain in FLAGS and str(value).lower() in ("false", "0")):
        yield Note(
            Sentence(
                "note-field-changes-what-row",
                "the field %(name)s changes what a row means, and was not used",
                name=name,
            )
        )


def count(unused: Counter[str], names: list[str]) -> None:
    """Count each by name, as long as there are not too many names."""
    for name in names:
        short = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}{OTHERS}"
        unused[short if short in unused or len(unused) < MAX_NAMES else OTHERS] += 1
