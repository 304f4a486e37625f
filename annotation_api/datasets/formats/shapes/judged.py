"""Two responses side by side and what somebody said of them, as public preference sets hold it.

One table: where the prompt and the two sides stand, and how the verdict is read. A verdict is positive when the
first side is better, negative when the second is, and 0 for a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, by_scores
from annotation_api.datasets.formats.serialised import parsed_list, prompt_from
from annotation_api.datasets.formats.tool_turns import conversation, with_tools
from annotation_api.datasets.values import (
    Refused,
    Row,
    as_list,
    as_number,
    as_object,
    as_text,
    messages,
    optional_text,
    prompt_of,
    show,
    text,
    truth,
)

BOTH_BAD = "both bad"
BATTLE_SIDES = (("messages_a", "messages_b"), ("conversation_a", "conversation_b"))


@dataclass(frozen=True)
class PairJudged:
    """Who won, how surely (Llama-2's steps), and whether both were called bad."""

    lead: float
    strength: int | None = None
    all_bad: bool = False


@dataclass(frozen=True)
class JudgedLayout:
    """`sides` are the fields of the two responses."""

    sides: tuple[str, str]
    judged: Callable[[Row], PairJudged]
    prompt: Callable[[Row], Prompt]
    annotator: str = ""


def _steps(name: str) -> Callable[[Row], PairJudged]:
    """HelpSteer's preference from -3 (the first is much better) to 3 (the second is)."""

    def read(row: Row) -> PairJudged:
        step = as_number(row.get(name), name)
        if step not in range(-3, 4):
            raise Refused(
                name,
                Sentence(
                    "from-minus-three",
                    "must be a whole number from -3 (first is better) to 3 (second is), it is %(step)s",
                    step=f"{step:g}",
                ),
            )
        return PairJudged(-step, int(abs(step)) + 1 if step else None)

    return read


def _flag(name: str) -> Callable[[Row], PairJudged]:
    """SHP: 1 when the first is better, 0 when the second is."""
    return lambda row: PairJudged(1.0 if truth(row, name) else -1.0)


def _scores(first: str, second: str) -> Callable[[Row], PairJudged]:
    return lambda row: PairJudged(as_number(row.get(first), first) - as_number(row.get(second), second))


def _one_of_three(row: Row) -> PairJudged:
    """Chatbot Arena's tables: exactly one of three columns is 1."""
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    said = [truth(row, name) for name in names]
    if sum(said) != 1:
        raise Refused(
            names[0], Sentence("exactly-one-is-one", "exactly one of %(names)s must be 1", names=", ".join(names))
        )
    return PairJudged(float(said[0]) - float(said[1]))


WINNERS = {
    "model_a": PairJudged(1),
    "model_b": PairJudged(-1),
    "tie": PairJudged(0),
    "tie (bothbad)": PairJudged(0, all_bad=True),
    "both_bad": PairJudged(0, all_bad=True),
    "bothbad": PairJudged(0, all_bad=True),
}


def _winner(row: Row) -> PairJudged:
    said = text(row, "winner").strip().lower()
    if said not in WINNERS:
        raise Refused(
            "winner",
            Sentence(
                "one-of-winners",
                "must be one of %(winners)s, it is %(said)s",
                winners=", ".join(WINNERS),
                said=show(said),
            ),
        )
    return WINNERS[said]


def _text_prompt(name: str) -> Callable[[Row], Prompt]:
    return lambda row: prompt_from(row.get(name), name)


def _full_text(row: Row) -> Prompt:
    asked = row.get("question")
    if isinstance(asked, str):
        return prompt_from(asked, "question")
    return prompt_from(as_object(asked, "question").get("full_text"), "question.full_text")


_FIRST_WINS = PairJudged(1)

HELPSTEER = JudgedLayout(("response_1", "response_2"), _steps("preference_strength"), _text_prompt("prompt"))
HELPSTEER3 = JudgedLayout(("response1", "response2"), _steps("overall_preference"), _text_prompt("context"))
SHP = JudgedLayout(("human_ref_A", "human_ref_B"), _flag("labels"), _text_prompt("history"))
WEBGPT = JudgedLayout(("answer_0", "answer_1"), _scores("score_0", "score_1"), _full_text)
STACK = JudgedLayout(("response_j", "response_k"), lambda row: _FIRST_WINS, _text_prompt("question"))


def ranking(layout: JudgedLayout) -> Callable[[Row], Made]:
    def read(row: Row) -> Made:
        sides = tuple(text(row, name) for name in layout.sides)
        yield from as_ranking(layout.prompt(row), sides, layout.judged(row), layout.sides[0])

    return read


def prompt(layout: JudgedLayout) -> Callable[[Row], Iterator[Prompt]]:
    def read(row: Row) -> Iterator[Prompt]:
        yield layout.prompt(row)

    return read


def as_ranking(asked: Prompt, sides: tuple[str, ...], said: PairJudged, field: str, **fields: Any) -> Made:
    strength = None if sides[0] == sides[1] else said.strength
    yield from by_scores(asked, sides, (said.lead, 0.0), field, strength=strength, all_bad=said.all_bad, **fields)


# ---------------------------------------------------------------- Chatbot Arena


def battle_ranking(row: Row) -> Made:
    """Two whole conversations, or the turns of a table: the last answers are compared where all before is shared."""
    asked, sides = _battle(row)
    annotator = optional_text(row, "judge") or None
    yield from as_ranking(asked, sides, _winner(row), "conversation_a", annotator=annotator)


def battle_prompt(row: Row) -> Iterator[Prompt]:
    """What was asked first: later turns of the two conversations can differ."""
    name = _sides_of_battle(row)[0]
    turns = messages(row.get(name), name)
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), 0)
    yield prompt_of(turns[: first + 1], name)


def _battle(row: Row) -> tuple[Prompt, tuple[str, str]]:
    names = _sides_of_battle(row)
    first, second = (_until_judged(row, messages(row.get(name), name)) for name in names)
    _check_sides(first, second, names[1])
    return prompt_of(first[:-1], names[0]), (first[-1].content, second[-1].content)


def _sides_of_battle(row: Row) -> tuple[str, str]:
    return next(pair for pair in BATTLE_SIDES if row.get(pair[0]) is not None or pair is BATTLE_SIDES[-1])


def _until_judged(row: Row, turns: list[Message]) -> list[Message]:
    """MT-bench: `turn` says which answer was judged, and both conversations go on behind the first."""
    judged = row.get("turn")
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    if isinstance(judged, bool) or not isinstance(judged, int) or not 1 <= judged <= len(answers):
        return turns
    return turns[: answers[judged - 1] + 1]


def _check_sides(first: list[Message], second: list[Message], field: str) -> None:
    if first[:-1] != second[:-1]:
        raise Refused(
            field,
            Sentence(
                "sides-part", "parts from the other side before the last answer, so the two answer different chats"
            ),
        )
    if first[-1].role != "assistant" or second[-1].role != "assistant":
        raise Refused(field, Sentence("sides-end", "both sides must end with the assistant's answer"))


def arena_ranking(row: Row) -> Made:
    """The table of 55,000: `prompt`, `response_a` and `response_b` are lists of turns, written as JSON."""
    first, second = _arena_turns(row, "response_a"), _arena_turns(row, "response_b")
    _check_sides(first, second, "response_b")
    sides = (first[-1].content, second[-1].content)
    yield from as_ranking(prompt_of(first[:-1], "prompt"), sides, _one_of_three(row), "response_a")


def arena_prompt(row: Row) -> Iterator[Prompt]:
    yield Prompt.from_text(_texts(row, "prompt")[0])


def _arena_turns(row: Row, side: str) -> list[Message]:
    asked, answered = _texts(row, "prompt"), _texts(row, side)
    if len(asked) != len(answered):
        raise Refused(
            side,
            Sentence(
                "answers-to-prompts",
                "holds %(answered)s answers to %(asked)s prompts",
                answered=len(answered),
                asked=len(asked),
            ),
        )
    turns: list[Message] = []
    for question, answer in zip(asked, answered, strict=True):
        turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return turns


def _texts(row: Row, name: str) -> list[str]:
    """A list of texts, also as JSON in a cell; a text alone is one turn."""
    value = row.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parsed_list(value, name)
    items = as_list([value] if isinstance(value, str) else value, name)
    if not items:
        raise Refused(name, Sentence("no-turn", "holds no turn"))
    return [as_text(item, f"{name}[{i}]") for i, item in enumerate(items)]


# ---------------------------------------------------------------- summarize_from_feedback


def summary_prompt(row: Row) -> Iterator[Prompt]:
    yield _post(row)


def summary_ranking(row: Row) -> Made:
    """`choice` is the index of the better of two `summaries`."""
    found = as_list(row.get("summaries"), "summaries")
    if len(found) != 2:
        raise Refused(
            "summaries", Sentence("choice-of-texts", "holds %(found)s texts; a choice needs two", found=len(found))
        )
    sides = tuple(as_text(as_object(s, "summaries").get("text"), f"summaries[{i}].text") for i, s in enumerate(found))
    best = as_number(row.get("choice"), "choice")
    if best not in (0, 1):
        raise Refused("choice", Sentence("zero-or-one-best", "must be 0 or 1, it is %(best)s", best=f"{best:g}"))
    annotator = optional_text(row, "worker") or None
    yield from as_ranking(_post(row), sides, PairJudged(1.0 if best == 0 else -1.0), "summaries", annotator=annotator)


def _post(row: Row) -> Prompt:
    info = as_object(row.get("info"), "info")
    name = "post" if info.get("post") else "article"
    return Prompt.from_text(f"{as_text(info.get(name), f'info.{name}')}\n\nTL;DR:")


# ---------------------------------------------------------------- OpenAI's preference files


def preferred_prompt(row: Row) -> Iterator[Prompt]:
    asked = as_object(row.get("input"), "input")
    yield with_tools(
        asked, prompt_of(conversation(asked.get("messages"), "input.messages"), "input.messages"), "input."
    )


def preferred_ranking(row: Row) -> Made:
    sides = tuple(_last(row, name) for name in ("preferred_output", "non_preferred_output"))
    yield from as_ranking(next(preferred_prompt(row)), sides, _FIRST_WINS, "preferred_output")


def _last(row: Row, name: str) -> str:
    turns = messages(row.get(name), name)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise Refused(name, Sentence("one-message", "must be one message of the assistant"))
    return turns[0].content
