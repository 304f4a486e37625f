"""Which layout a row has, by the fields that it holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from annotation_api.datasets.formats import serialised
from annotation_api.datasets.formats.shapes import (
    chats,
    own,
    pairs,
    safe,
    scored,
    sides,
    steps,
    thumbs,
    unranked,
)
from annotation_api.datasets.formats.shapes.exported import argilla, label_studio, prodigy, webui
from annotation_api.datasets.layouts import Format as Format
from annotation_api.datasets.values import Row

_HUMAN = re.compile(r"(?:^\s*|(?:\r?\n){2})Human:")


def layout_of(row: Row) -> Format | None:
    """The layout that the fields of a row speak for; None when they speak for none."""
    return next((layout for layout, speaks in _SIGNS if speaks(row)), None)


def spoken_for(rows: Iterable[Row]) -> Format | None:
    """The layout that most rows speak for, of equals the one that comes first: one odd row does not decide."""
    found = [(layout, row) for row in rows if (layout := layout_of(row))]
    sure = [layout for layout, row in found if not (layout is Format.ALPACA and chats.only_asks(row))]
    votes = Counter(sure or [layout for layout, _ in found])
    return next((layout for layout, _ in votes.most_common(1)), None)


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(row.get(name) is not None for name in names)


def _is_native(row: Row) -> bool:
    inner = row.get("prompt")
    return isinstance(inner, dict) and "messages" in inner


def _is_tree(row: Row) -> bool:
    inner = row.get("prompt")
    return isinstance(inner, dict) and bool({"text", "replies"} & inner.keys())


def _is_hh(row: Row) -> bool:
    return all(isinstance(row.get(name), str) and _HUMAN.search(row[name]) for name in ("chosen", "rejected"))


def _items_with(list_name: str, *names: str) -> Callable[[Row], bool]:
    """Whether a field holds a list of objects with these fields."""

    def speaks(row: Row) -> bool:
        items = row.get(list_name)
        return isinstance(items, list) and bool(items) and isinstance(items[0], dict) and set(names) <= set(items[0])

    return speaks


def _is_written(row: Row) -> bool:
    return any(isinstance(row.get(name), str) and serialised.is_chat(row[name]) for name in chats.WRITTEN)


def _is_graded(row: Row) -> bool:
    return any(isinstance(value, dict) and "is_correct" in value for value in row.values())


def _is_graded_pair(row: Row) -> bool:
    return _has("output_1", "output_2")(row) and ("preference" in row or not sides.speaks(row))


def _is_list(row: Row) -> bool:
    """Whether `output` holds several answers, or anything but what an API logged."""
    items = row.get("output")
    return isinstance(items, list) and not any(isinstance(item, dict) and "type" in item for item in items)


# In this order: the first that fits is taken, so the more special ones come first.
_SIGNS: tuple[tuple[Format, Callable[[Row], bool]], ...] = (
    (Format.JSONL, _is_native),
    (Format.RECORDS, own.is_full),
    (Format.OASST, _is_tree),
    (Format.PRODIGY, prodigy.speaks),
    (Format.STEPS, steps.speaks),
    (Format.LABEL_STUDIO, label_studio.is_min),
    (Format.ARGILLA, argilla.is_flat),
    (Format.HH, _is_hh),
    (Format.TRL, pairs.has_sides),
    (Format.BESIDE, pairs.refused_beside),
    (Format.OPENAI, _has("input", "preferred_output", "non_preferred_output")),
    (Format.SHP, _has("human_ref_A", "human_ref_B", "labels")),
    (Format.HELPSTEER, _has("response_1", "response_2", "preference_strength")),
    (Format.HELPSTEER3, _has("context", "response1", "response2", "overall_preference")),
    (Format.BATTLES, _has("conversation_a", "conversation_b")),
    (Format.BATTLES, _has("messages_a", "messages_b", "winner")),
    (Format.ARENA, _has("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")),
    (Format.WEBGPT, _has("question", "answer_0", "answer_1", "score_0", "score_1")),
    (Format.STACK, _has("question", "response_j", "response_k")),
    (Format.SAFE, safe.is_safe_pair),
    (Format.SUMMARIES, _has("info", "summaries", "choice")),
    (Format.ULTRAFEEDBACK, scored.is_graded),
    (Format.NECTAR, _items_with("answers", "answer", "rank")),
    (Format.VOTED, scored.is_voted),
    (Format.DISTILABEL, scored.is_listed),
    (Format.OPEN_WEBUI, webui.speaks),
    (Format.LABEL_STUDIO, label_studio.speaks),
    (Format.ARGILLA, argilla.speaks),
    (Format.KTO, thumbs.speaks),
    (Format.GPT4LLM, _has("responses_and_scores")),
    (Format.ALPACA_EVAL, _is_graded_pair),
    (Format.PANDALM, _has("response1", "response2", "annotator1")),
    (Format.TULU, _has("completion_a", "completion_b")),
    (Format.LLMZOO, _has("metadata", "order")),
    (Format.GRADED, _is_graded),
    (Format.SIDES, sides.speaks),
    (Format.RESPONSES, unranked.speaks),
    (Format.SHAREGPT, _has("conversations")),
    (Format.SHAREGPT, _has("messages")),
    (Format.SHAREGPT, _has("conversation")),
    (Format.SHAREGPT, chats.has_items),
    (Format.QUESTIONS, _has("turns")),
    (Format.QUESTIONS, _has("instances")),
    (Format.OASST, _is_list),
    *((Format.ALPACA, _has(name)) for name in chats.INSTRUCTION),
    (Format.ALPACA, chats.answers_input),
    (Format.TEXT, _is_written),
)
