"""Rows that their own file takes back: deleted, found to be spam, discarded by whoever judged them, or of no weight.

A flag or a word of a known name says so. Prodigy's `answer` is such a word only beside what was judged.
"""

from __future__ import annotations

from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import TRUTHS, Note

FLAGS = ("deleted", "is_deleted", "spam", "is_spam", "discarded", "skipped", "was_cancelled")
STATES = ("status", "state", "review_status")
TAKEN_BACK = frozenset({"deleted", "discarded", "rejected", "draft", "skipped", "cancelled", "spam"})
ANSWERS = frozenset({"accept", "reject", "ignore"})  # Prodigy's
JUDGED = ("response", "output", "completion", "chosen", "messages", "conversations", "conversation", "options")


def taken_back(row: dict[str, Any]) -> Note | None:
    """Why the row is left out, if it is; what says that it is not is read with it."""
    for name in FLAGS:
        if _is_plain(row.get(name)) and _truth(row[name]):
            return Note(
                Sentence("note-rows-are-marked-as", "rows that are marked as %(name)s were left out", name=name)
            )
    for name in STATES:
        if _word(row.get(name)) in TAKEN_BACK:
            return Note(
                Sentence(
                    "note-rows-whose-were-left",
                    "rows whose %(name)s is %(word)s were left out",
                    name=name,
                    word=_word(row[name]),
                )
            )
    if _is_judged(row) and _word(row["answer"]) != "accept":
        return Note(
            Sentence(
                "note-rows-whose-answer-were", "rows whose answer is %(word)s were left out", word=_word(row["answer"])
            )
        )
    weight = row.get("weight")
    if not isinstance(weight, bool) and isinstance(weight, int | float | str) and str(weight).strip() in ("0", "0.0"):
        return Note(Sentence("note-rows-weight-were-left", "rows of weight 0 were left out"))
    return None


def looked_at(row: dict[str, Any]) -> set[str]:
    """The fields that said that the row stands."""
    flags = {name for name in FLAGS if _is_plain(value := row.get(name)) and _truth(value) is not None}
    return flags | ({"answer"} if _is_judged(row) else set())


def _is_judged(row: dict[str, Any]) -> bool:
    """Whether `answer` is what somebody said of another field."""
    return _word(row.get("answer")) in ANSWERS and any(row.get(name) is not None for name in JUDGED)


def _truth(value: object) -> bool | None:
    return TRUTHS.get(_word(value) if isinstance(value, str) else value)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _word(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""
