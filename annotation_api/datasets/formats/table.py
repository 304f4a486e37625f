"""Which layouts there are, how each is told by its fields, and who reads it into which record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from alignment.records import Demonstration, Prompt, Ranking, Record
from annotation_api.datasets.formats import chats, pairs, ranked
from annotation_api.datasets.formats.values import Note, Refused, Row, show
from annotation_api.datasets.layouts import Format as Format

Reader = Callable[[Row], Iterable[Record | Note]]

KINDS: dict[str, type[Record]] = {
    "demonstrations": Demonstration,
    "conversations": Demonstration,
    "preferences": Ranking,
    "rankings": Ranking,
    "prompts": Prompt,
}


def _native(kind: type[Record]) -> Reader:
    def read(row: Row) -> Iterable[Record]:
        # Through JSON, because records take lists for tuples only there.
        yield kind.model_validate_json(json.dumps(row))

    return read


def _native_prompt(row: Row) -> Iterable[Record | Note]:
    """A prompt, or the prompt of a demonstration or ranking."""
    yield from _native(Prompt)(row["prompt"] if isinstance(row.get("prompt"), dict) else row)


def _sharegpt_ranking(row: Row) -> Iterable[Record | Note]:
    if row.get("chosen") is None:
        raise Refused("chosen", "missing: a conversation alone holds no comparison; import it --as conversations")
    yield from pairs.chosen_ranking(row)


def _oasst_ranking(row: Row) -> Iterable[Record | Note]:
    yield from (ranked.tree_ranking if isinstance(row.get("prompt"), dict) else ranked.list_ranking)(row)


def _oasst_prompt(row: Row) -> Iterable[Record | Note]:
    yield from (ranked.tree_prompt if isinstance(row.get("prompt"), dict) else chats.alpaca_prompt)(row)


def _oasst_demonstration(row: Row) -> Iterable[Record | Note]:
    if isinstance(row.get("output"), list):
        raise Refused("output", "is a list of answers, which is a ranking; import it --as rankings")
    yield from ranked.tree_demonstration(row)


def _kto_ranking(row: Row) -> Iterable[Record | Note]:
    raise Refused(
        "label",
        f"{show(row.get('label'))}: one thumb on one response compares nothing; "
        "import the file --as demonstrations to take the rows with label true",
    )


def _comparisons_only(row: Row) -> Iterable[Record | Note]:
    raise Refused("", "holds a comparison, not a demonstration; import the file --as preferences, rankings or prompts")


def _questions_only(row: Row) -> Iterable[Record | Note]:
    raise Refused("", "holds no comparison; import the file --as prompts or demonstrations")


def _alpaca_ranking(row: Row) -> Iterable[Record | Note]:
    if not isinstance(row.get("output"), list):
        raise Refused("output", "is one answer, which compares nothing; import the file --as demonstrations or prompts")
    yield from ranked.list_ranking(row)


# For each layout: the readers of demonstrations, of rankings and of prompts.
_READERS: dict[Format, tuple[Reader, Reader, Reader]] = {
    Format.ALPACA: (chats.alpaca_demonstration, _alpaca_ranking, chats.alpaca_prompt),
    Format.SHAREGPT: (chats.chat_demonstration, _sharegpt_ranking, chats.chat_prompt),
    Format.HH: (_comparisons_only, pairs.hh_ranking, pairs.hh_prompt),
    Format.TRL: (_comparisons_only, pairs.chosen_ranking, pairs.chosen_prompt),
    Format.KTO: (chats.thumb_demonstration, _kto_ranking, chats.thumb_prompt),
    Format.OASST: (_oasst_demonstration, _oasst_ranking, _oasst_prompt),
    Format.GPT4LLM: (_comparisons_only, ranked.scored_ranking, chats.alpaca_prompt),
    Format.ALPACA_EVAL: (_comparisons_only, pairs.alpaca_eval_ranking, chats.alpaca_prompt),
    Format.LLMZOO: (_comparisons_only, ranked.llmzoo_ranking, ranked.llmzoo_prompt),
    Format.PANDALM: (_comparisons_only, pairs.pandalm_ranking, chats.alpaca_prompt),
    Format.TULU: (_comparisons_only, pairs.tulu_ranking, chats.alpaca_prompt),
    Format.GRADED: (_comparisons_only, ranked.graded_ranking, chats.alpaca_prompt),
    Format.QUESTIONS: (chats.question_demonstration, _questions_only, chats.question_prompt),
    Format.JSONL: (_native(Demonstration), _native(Ranking), _native_prompt),
}


def reader(layout: Format, kind: str) -> Reader:
    """Who turns a row of this layout into records of this kind."""
    demonstration, ranking, prompt = _READERS[layout]
    return {Demonstration: demonstration, Ranking: ranking, Prompt: prompt}[KINDS[kind]]


def layout_of(row: Row) -> Format | None:
    """The layout that the fields of a row speak for; None when they speak for none."""
    return next((layout for layout, speaks in _SIGNS if speaks(row)), None)


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(row.get(name) is not None for name in names)


def _is_native(row: Row) -> bool:
    inner = row.get("prompt")
    return isinstance(inner, dict) and "messages" in inner


def _is_hh(row: Row) -> bool:
    return all(isinstance(row.get(name), str) and "\n\nHuman:" in row[name] for name in ("chosen", "rejected"))


def _is_graded(row: Row) -> bool:
    return any(isinstance(value, dict) and "is_correct" in value for value in row.values())


def _is_list(row: Row) -> bool:
    return isinstance(row.get("output"), list)


# In this order: the first that fits is taken, so the more special ones come first.
_SIGNS: tuple[tuple[Format, Callable[[Row], bool]], ...] = (
    (Format.JSONL, _is_native),
    (Format.OASST, lambda row: isinstance(row.get("prompt"), dict)),
    (Format.HH, _is_hh),
    (Format.TRL, _has("chosen", "rejected")),
    (Format.KTO, _has("label")),
    (Format.GPT4LLM, _has("responses_and_scores")),
    (Format.ALPACA_EVAL, _has("output_1", "output_2")),
    (Format.PANDALM, _has("response1", "response2")),
    (Format.TULU, _has("completion_a", "completion_b")),
    (Format.LLMZOO, _has("metadata", "order")),
    (Format.GRADED, _is_graded),
    (Format.SHAREGPT, _has("conversations")),
    (Format.SHAREGPT, _has("messages")),
    (Format.QUESTIONS, _has("turns")),
    (Format.QUESTIONS, _has("instances")),
    (Format.OASST, _is_list),
    *((Format.ALPACA, _has(name)) for name in chats.INSTRUCTION),
)
