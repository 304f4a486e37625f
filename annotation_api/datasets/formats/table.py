"""Which layouts there are, and who reads each into which record; signs.py tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from alignment.shared.records import Candidates, Demonstration, Prompt, Ranking, Record
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.rows import rated
from annotation_api.datasets.formats.shapes import (
    chats,
    dialogues,
    graded_pairs,
    judged,
    own,
    pairs,
    ranked,
    safe,
    scored,
    sides,
    steps,
    thumbs,
    unranked,
)
from annotation_api.datasets.formats.shapes.exported import argilla, label_studio, prodigy, webui
from annotation_api.datasets.layouts import Format as Format
from annotation_api.datasets.values import Note, Refused, Row, first_of, show

Reader = Callable[[Row], Iterable[Record | Note]]

KINDS: dict[str, type[Record]] = {
    "demonstrations": Demonstration,
    "conversations": Demonstration,
    "preferences": Ranking,
    "rankings": Ranking,
    "prompts": Prompt,
    "responses": Candidates,
}


def _native(kind: type[Record]) -> Reader:
    def read(row: Row) -> Iterable[Record]:
        # Through JSON, because records take lists for tuples only there.
        yield kind.model_validate_json(json.dumps({name: row[name] for name in row}))

    return read


def _native_prompt(row: Row) -> Iterable[Record | Note]:
    """A prompt, or the prompt of a demonstration or ranking."""
    yield from _native(Prompt)(row["prompt"] if isinstance(row.get("prompt"), dict) else row)


def _sharegpt_ranking(row: Row) -> Iterable[Record | Note]:
    if row.get("chosen") is None:
        raise Refused(
            "chosen",
            Sentence(
                "conversation-alone", "missing: a conversation alone holds no comparison; import it as conversations"
            ),
        )
    yield from pairs.chosen_ranking(row)


def _native_candidates(row: Row) -> Iterable[Record | Note]:
    if "groups" in row:
        yield from unranked.without_order(_native(Ranking)(row))
    else:
        yield from _native(Candidates)(row)


def _full_candidates(row: Row) -> Iterable[Record | Note]:
    if row.get("groups") is not None:
        yield from unranked.without_order(own.full(Ranking)(row))
    else:
        yield from own.full(Candidates)(row)


def _oasst_ranking(row: Row) -> Iterable[Record | Note]:
    yield from (ranked.tree_ranking if isinstance(row.get("prompt"), dict) else ranked.list_ranking)(row)


def _oasst_prompt(row: Row) -> Iterable[Record | Note]:
    yield from (ranked.tree_prompt if isinstance(row.get("prompt"), dict) else chats.alpaca_prompt)(row)


def _oasst_demonstration(row: Row) -> Iterable[Record | Note]:
    if isinstance(row.get("output"), list):
        raise Refused(
            "output", Sentence("import-as-rankings", "is a list of answers, which is a ranking; import it as rankings")
        )
    yield from ranked.tree_demonstration(row)


def _kto_ranking(row: Row) -> Iterable[Record | Note]:
    raise Refused(
        "label",
        Sentence(
            "one-thumb",
            "%(label)s: one thumb on one response compares nothing; import the file as demonstrations to "
            "take the rows with label true",
            label=show(row.get("label")),
        ),
    )


def _comparisons_only(row: Row) -> Iterable[Record | Note]:
    raise Refused(
        "",
        Sentence(
            "a-comparison",
            "holds a comparison, not a demonstration; import the file as preferences, rankings or prompts",
        ),
    )


def _trl_demonstration(row: Row) -> Iterable[Record | Note]:
    """TRL's rows for SFT beside those for preferences."""
    if "completion" in row:
        yield from chats.alpaca_demonstration(row)
    else:
        yield from (chats.chat_demonstration if "messages" in row else _comparisons_only)(row)


def _trl_prompt(row: Row) -> Iterable[Record | Note]:
    if "completion" in row:
        yield from chats.alpaca_prompt(row)
    else:
        yield from (chats.chat_prompt if "messages" in row else pairs.chosen_prompt)(row)


def _studio_demonstration(row: Row) -> Iterable[Record | Note]:
    yield from (label_studio.demonstration if label_studio.is_written(row) else _comparisons_only)(row)


def _argilla_demonstration(row: Row) -> Iterable[Record | Note]:
    yield from (argilla.demonstrations if argilla.is_written(row) else _comparisons_only)(row)


def _questions_only(row: Row) -> Iterable[Record | Note]:
    raise Refused("", Sentence("no-comparison", "holds no comparison; import the file as prompts or demonstrations"))


def _alpaca_ranking(row: Row) -> Iterable[Record | Note]:
    if isinstance(row.get("output"), list):
        yield from ranked.list_ranking(row)
        return
    if any(isinstance(row.get(name), list) for name in chats.OUTPUT):
        yield from unranked.no_ranking(row)
    if rated.is_rated(dict(row)):
        raise Refused(
            "",
            Sentence(
                "rated-alone",
                "is rated, and no other response of its prompt stands beside it: sort the file so that the responses "
                "of a prompt stand one after another",
            ),
        )
    if not any(row.get(name) is not None for name in chats.OUTPUT):
        present = ", ".join(list(row)[:12])
        raise Refused(
            "",
            Sentence(
                "no-field-says",
                "no field says which of two answers is better. Fields of this row: %(present)s",
                present=present,
            ),
        )
    raise Refused(
        first_of(row, chats.OUTPUT),
        Sentence("one-answer", "is one answer, which compares nothing; import the file as demonstrations or prompts"),
    )


def _chat_only(row: Row) -> Iterable[Record | Note]:
    raise Refused(
        "text",
        Sentence("one-chat", "is one chat, which compares nothing; import the file as demonstrations or prompts"),
    )


def _judged(layout: judged.JudgedLayout) -> tuple[Reader, Reader, Reader]:
    return (_comparisons_only, judged.ranking(layout), judged.prompt(layout))


# For each layout: the readers of demonstrations, of rankings and of prompts.
_READERS: dict[Format, tuple[Reader, Reader, Reader]] = {
    Format.ALPACA: (chats.alpaca_demonstration, _alpaca_ranking, chats.alpaca_prompt),
    Format.SHAREGPT: (chats.chat_demonstration, _sharegpt_ranking, chats.chat_prompt),
    Format.HH: (_comparisons_only, dialogues.ranking, dialogues.prompt),
    Format.TRL: (_trl_demonstration, pairs.chosen_ranking, _trl_prompt),
    Format.BESIDE: (_comparisons_only, pairs.beside_ranking, pairs.beside_prompt),
    Format.KTO: (thumbs.demonstration, _kto_ranking, thumbs.prompt),
    Format.OASST: (_oasst_demonstration, _oasst_ranking, _oasst_prompt),
    Format.GPT4LLM: (_comparisons_only, ranked.scored_ranking, chats.alpaca_prompt),
    Format.ALPACA_EVAL: (_comparisons_only, graded_pairs.alpaca_eval_ranking, chats.alpaca_prompt),
    Format.LLMZOO: (_comparisons_only, ranked.llmzoo_ranking, ranked.llmzoo_prompt),
    Format.PANDALM: (_comparisons_only, graded_pairs.pandalm_ranking, chats.alpaca_prompt),
    Format.TULU: (_comparisons_only, graded_pairs.tulu_ranking, chats.alpaca_prompt),
    Format.GRADED: (_comparisons_only, ranked.graded_ranking, chats.alpaca_prompt),
    Format.QUESTIONS: (chats.question_demonstration, _questions_only, chats.question_prompt),
    Format.HELPSTEER: _judged(judged.HELPSTEER),
    Format.HELPSTEER3: _judged(judged.HELPSTEER3),
    Format.SHP: _judged(judged.SHP),
    Format.WEBGPT: _judged(judged.WEBGPT),
    Format.STACK: _judged(judged.STACK),
    Format.BATTLES: (_comparisons_only, judged.battle_ranking, judged.battle_prompt),
    Format.ARENA: (_comparisons_only, judged.arena_ranking, judged.arena_prompt),
    Format.VOTED: (_comparisons_only, scored.voted_ranking, scored.asked_prompt),
    Format.SAFE: (_comparisons_only, safe.safe_ranking, scored.asked_prompt),
    Format.SUMMARIES: (_comparisons_only, judged.summary_ranking, judged.summary_prompt),
    Format.OPENAI: (_comparisons_only, judged.preferred_ranking, judged.preferred_prompt),
    Format.ULTRAFEEDBACK: (_comparisons_only, scored.ultrafeedback_ranking, chats.alpaca_prompt),
    Format.NECTAR: (_comparisons_only, scored.nectar_ranking, scored.asked_prompt),
    Format.DISTILABEL: (_comparisons_only, scored.generations_ranking, scored.listed_prompt),
    Format.LABEL_STUDIO: (_studio_demonstration, label_studio.ranking, label_studio.prompt),
    Format.ARGILLA: (_argilla_demonstration, argilla.ranking, argilla.prompt),
    Format.OPEN_WEBUI: (webui.demonstration, webui.ranking, webui.prompt),
    Format.PRODIGY: (_comparisons_only, prodigy.ranking, prodigy.prompt),
    Format.STEPS: (steps.no_record, steps.no_record, steps.prompt),
    Format.SIDES: (_comparisons_only, sides.ranking, sides.prompt),
    Format.RESPONSES: (unranked.no_demonstration, unranked.no_ranking, unranked.prompt),
    Format.TEXT: (chats.written_demonstration, _chat_only, chats.written_prompt),
    Format.RECORDS: (own.full(Demonstration), own.full(Ranking), own.full(Prompt)),
    Format.JSONL: (_native(Demonstration), _native(Ranking), _native_prompt),
}


# Who reads responses that are to be ranked; for all other layouts the order of their rankings is left out.
_CANDIDATES: dict[Format, Reader] = {
    Format.JSONL: _native_candidates,
    Format.RECORDS: _full_candidates,
    **dict.fromkeys(
        (Format.RESPONSES, Format.ALPACA, Format.ALPACA_EVAL, Format.PANDALM, Format.TULU, Format.HELPSTEER),
        unranked.candidates,
    ),
}


def reader(layout: Format, kind: str) -> Reader:
    """Who turns a row of this layout into records of this kind."""
    demonstration, ranking, prompt = _READERS[layout]
    if KINDS[kind] is Candidates:
        return _CANDIDATES.get(layout) or (lambda row: unranked.without_order(ranking(row)))
    return {Demonstration: demonstration, Ranking: ranking, Prompt: prompt}[KINDS[kind]]
