"""The columns of an exported record: flat rows for trainers and spreadsheets, or the record in full.

Flat rows use TRL's names. A ranking gives one row for each pair of a better and a worse response:
`weight` is the ranking's weight over its number of pairs, so that a ranking counts once however many
responses it has; `margin` is what the strength says of the pair (`records.margin_of`), 0 where none was
given. A verdict is TRL's unpaired preference (`label`: the rule was kept; null: unsure).
An answer gives one row for each question. `split` follows from the prompt alone, so that no prompt
stands on both sides. Tools have columns only where a record of the file has some (`with_tools`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from alignment.shared.config import RewardConfig
from alignment.shared.records import (
    SMALL_MARGINS,
    Answers,
    Candidates,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Record,
    RuleVerdict,
    canonical_json,
    margin_of,
    split_of,
)

HELDOUT_FRACTION = RewardConfig().heldout_fraction

Columns = dict[str, Any]

# Column to type, in the order of a file; `writers` has the types.
_ORIGIN = {"split": "text", "lineage": "text"}
FLAT: dict[type[Record], dict[str, str]] = {
    Ranking: {
        "prompt": "messages",
        "chosen": "messages",
        "rejected": "messages",
        "margin": "number",
        "weight": "number",
        **_ORIGIN,
    },
    Demonstration: {"prompt": "messages", "completion": "messages", **_ORIGIN},
    Prompt: {"prompt": "messages", **_ORIGIN},
    Candidates: {"prompt": "messages", "responses": "texts", **_ORIGIN},
    RuleVerdict: {
        "prompt": "messages",
        "completion": "messages",
        "label": "flag",
        "rule": "text",
        "text": "text",
        "verdict": "text",
        "criterion": "text",
        "annotator": "text",
        "weight": "number",
        **_ORIGIN,
    },
    Answers: {
        "prompt": "messages",
        "responses": "texts",
        "question": "text",
        "text": "text",
        "value": "text",
        "criterion": "text",
        "annotator": "text",
        "weight": "number",
        **_ORIGIN,
    },
}
_JUDGED = {"rationale": "text", "criterion": "text", "annotator": "text", "weight": "number"}
_ASKED = {"prompt": "messages", "prompt_criterion": "text", "language": "text"}
FULL: dict[type[Record], dict[str, str]] = {
    Ranking: {
        **_ASKED,
        "responses": "texts",
        "groups": "groups",
        "strength": "whole",
        "all_bad": "flag",
        "ratings": "wholes",
        "flags": "lists",
        "broken_rules": "lists",
        **_JUDGED,
        **_ORIGIN,
    },
    Demonstration: {**_ASKED, "response": "text", **_ORIGIN},
    Prompt: {**_ASKED, **_ORIGIN},
    Candidates: {**_ASKED, "responses": "texts", **_ORIGIN},
    RuleVerdict: {
        **_ASKED,
        "response": "text",
        "rule": "text",
        "text": "text",
        "verdict": "text",
        "flags": "texts",
        **_JUDGED,
        **_ORIGIN,
    },
    Answers: {
        **_ASKED,
        "responses": "texts",
        "answers": "answers",
        "flags": "lists",
        "rationale": "text",
        "annotator": "text",
        "weight": "number",
        **_ORIGIN,
    },
}


def with_tools(columns: Mapping[str, str], *, whole: bool) -> dict[str, str]:
    """The columns of records that hold tools: `tools` is a list of JSON texts in a `whole` record, else one, as TRL's.

    The calls of a demonstration's response stand in its own message, and in a whole record in a column.
    """
    wide = {name: "turns" if kind == "messages" else kind for name, kind in columns.items()}
    calls = {"tool_calls": "calls"} if whole and "response" in columns and "rule" not in columns else {}
    return {**wide, **calls, "tools": "texts" if whole else "text"}


def flat(record: Record) -> Iterator[Columns]:
    """The flat rows of one record; a ranking without a preference gives none."""
    tools = _prompt_of(record).tools
    beside = {"tools": f"[{', '.join(tools)}]"} if tools else {}
    yield from ({**row, **beside} for row in _FLAT[type(record)](record))


def full(record: Record) -> Iterator[Columns]:
    """The record as one row, under its own names; answers hold their values as JSON text."""
    prompt = _prompt_of(record)
    row = record.model_dump(mode="json")
    row |= {"prompt": _messages(prompt), "prompt_criterion": prompt.criterion, "language": prompt.language}
    row |= {"tools": list(prompt.tools)} if prompt.tools else {}
    for answer in row.get("answers", ()):
        answer["value"] = canonical_json(answer["value"])
    yield {**row, **_origin(prompt, row.get("lineage", {}))}


def _pairs(ranking: Ranking) -> Iterator[Columns]:
    pairs = ranking.pairs()
    if not pairs:
        return
    prompt, sides = _messages(ranking.prompt), [_answer(text) for text in ranking.responses]
    whole = SMALL_MARGINS[ranking.strength] if ranking.strength else 0.0
    rest = {
        "weight": ranking.weight / len(pairs),
        **_origin(ranking.prompt, ranking.lineage),
    }
    for better, worse in pairs:
        margin = margin_of(ranking.ranks, better, whole)
        yield {"prompt": prompt, "chosen": sides[better], "rejected": sides[worse], "margin": margin, **rest}


def _demonstration(record: Demonstration) -> Iterator[Columns]:
    yield {
        "prompt": _messages(record.prompt),
        "completion": [turn_of(record.reply)],
        **_origin(record.prompt, record.lineage),
    }


def _prompt(record: Prompt) -> Iterator[Columns]:
    yield {"prompt": _messages(record), **_origin(record, {})}


def _candidates(record: Candidates) -> Iterator[Columns]:
    yield {
        "prompt": _messages(record.prompt),
        "responses": list(record.responses),
        **_origin(record.prompt, record.lineage),
    }


def _verdict(record: RuleVerdict) -> Iterator[Columns]:
    yield {
        "prompt": _messages(record.prompt),
        "completion": _answer(record.response),
        "label": {"kept": True, "broken": False}.get(record.verdict),
        "rule": record.rule,
        "text": record.text,
        "verdict": record.verdict,
        "criterion": record.criterion,
        "annotator": record.annotator,
        "weight": record.weight,
        **_origin(record.prompt, record.lineage),
    }


def _answers(record: Answers) -> Iterator[Columns]:
    for answer in record.answers:
        yield {
            "prompt": _messages(record.prompt),
            "responses": list(record.responses),
            "question": answer.question,
            "text": answer.text,
            "value": canonical_json(answer.value),
            "criterion": answer.criterion,
            "annotator": record.annotator,
            "weight": record.weight,
            **_origin(record.prompt, record.lineage),
        }


_FLAT: dict[type[Record], Callable[[Any], Iterator[Columns]]] = {
    Ranking: _pairs,
    Demonstration: _demonstration,
    Prompt: _prompt,
    Candidates: _candidates,
    RuleVerdict: _verdict,
    Answers: _answers,
}


def _prompt_of(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt  # type: ignore[attr-defined]


def _messages(prompt: Prompt) -> list[Columns]:
    return [turn_of(message) for message in prompt.messages]


def turn_of(message: Message) -> Columns:
    """The message in OpenAI's shape."""
    return message.model_dump(mode="json") if message.uses_tools else {"role": message.role, "content": message.content}


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _origin(prompt: Prompt, lineage: dict[str, str]) -> Columns:
    return {"split": split_of(prompt, HELDOUT_FRACTION), "lineage": canonical_json(lineage)}
