"""Single examples: ShareGPT and `messages` chats, Alpaca rows, thumbs, question lists.

A chat of several turns gives one Demonstration: its last assistant turn is the response, all turns
before it are the prompt. Earlier assistant turns are context, not targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alignment.records import Demonstration, Message, Prompt
from annotation_api.datasets.formats.values import (
    Refused,
    Row,
    as_list,
    as_object,
    as_text,
    first_of,
    messages,
    optional_text,
    prompt_of,
    show,
    text,
    truth,
)

INSTRUCTION = ("instruction", "question", "prompt", "user_input", "query")
INPUT = ("input", "context")
OUTPUT = ("output", "response", "answer", "completion", "std_answer")
CHAT = ("conversations", "messages")
OWN_FIELDS = Prompt.model_fields.keys()
NO_INPUT = re.compile(r"\W*no\s?input\W*", re.IGNORECASE)  # Alpaca's generated way to say that there is none


# ---------------------------------------------------------------- chats


def chat_demonstration(row: Row) -> Iterator[Demonstration]:
    name = first_of(row, CHAT)
    turns = _with_system(row, messages(row[name], name))
    if turns[-1].role != "assistant":
        raise Refused(
            f"{name}[{len(turns) - 1}]",
            f"the last turn must be the assistant's, it is the {turns[-1].role}'s: there is no response to learn",
        )
    yield Demonstration(prompt=prompt_of(turns[:-1], name), response=turns[-1].content)


def chat_prompt(row: Row) -> Iterator[Prompt]:
    """The turns up to the last of the user; what else our own prompts hold is kept."""
    name = first_of(row, CHAT)
    turns = _with_system(row, messages(row[name], name))
    own = {key: row[key] for key in ("criterion", "language") if key in row} if row.keys() <= OWN_FIELDS else {}
    yield prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, name, **own)


def _with_system(row: Row, turns: list[Message]) -> list[Message]:
    """LLaMA-Factory's ShareGPT rows may hold the system message beside the turns."""
    system = optional_text(row, "system")
    return [Message(role="system", content=system), *turns] if system.strip() and turns[0].role != "system" else turns


# ---------------------------------------------------------------- thumbs (KTO)


def thumb_demonstration(row: Row) -> Iterator[Demonstration]:
    if not truth(row, "label"):
        raise Refused("label", "is false: a response that was disliked is no demonstration; leave the row out")
    yield from chat_demonstration(row) if _is_chat(row) else alpaca_demonstration(row)


def thumb_prompt(row: Row) -> Iterator[Prompt]:
    yield from chat_prompt(row) if _is_chat(row) else alpaca_prompt(row)


def _is_chat(row: Row) -> bool:
    return any(row.get(name) is not None for name in CHAT)


# ---------------------------------------------------------------- Alpaca


def alpaca_demonstration(row: Row) -> Iterator[Demonstration]:
    name = first_of(row, OUTPUT)
    if isinstance(row[name], list) and name != "completion":
        raise Refused(name, "is a list of answers, which is a ranking; import it --as rankings")
    yield Demonstration(prompt=instruction(row), response=_completion(row[name], name))


def alpaca_prompt(row: Row) -> Iterator[Prompt]:
    yield instruction(row)


def _completion(value: object, field: str) -> str:
    """Text, or TRL's list of one assistant message."""
    if not isinstance(value, list):
        return as_text(value, field)
    turns = messages(value, field)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise Refused(field, "must be one assistant message or text")
    return turns[0].content


def instruction(row: Row, **fields: Any) -> Prompt:
    """Instruction and input, parted by an empty line; earlier `history` turns and `system` before them.

    TRL's prompt as a list of messages is taken as it is.
    """
    name = first_of(row, INSTRUCTION)
    if isinstance(row[name], list):
        return prompt_of(messages(row[name], name), name, **fields)
    asked, given = text(row, name), optional_text(row, *INPUT)
    if given.strip() and not NO_INPUT.fullmatch(given):
        asked = f"{asked}\n\n{given}"
    system = optional_text(row, "system")
    turns = [Message(role="system", content=system)] if system.strip() else []
    return Prompt(messages=(*turns, *_history(row), Message(role="user", content=asked)), **fields)


def _history(row: Row) -> Iterator[Message]:
    """Earlier [user, assistant] pairs."""
    for i, pair in enumerate(as_list(row.get("history") or [], "history")):
        field = f"history[{i}]"
        turns = as_list(pair, field)
        if len(turns) != 2:
            raise Refused(field, f"must be a pair of question and answer, it has {len(turns)} parts")
        yield Message(role="user", content=as_text(turns[0], f"{field}[0]"))
        yield Message(role="assistant", content=as_text(turns[1], f"{field}[1]"))


# ---------------------------------------------------------------- question lists


def question_prompt(row: Row) -> Iterator[Prompt]:
    """The first turn of MT-bench and Vicuna questions; a Self-Instruct seed task with each of its inputs.

    Later MT-bench turns ask about an answer that only a model can give, so they are no prompts yet.
    """
    if row.get("turns") is not None:
        turns = as_list(row["turns"], "turns")
        yield Prompt.from_text(as_text(turns[0] if turns else None, "turns[0]"))
    else:
        for i, case in enumerate(_cases(row)):
            yield _task_prompt(row, case, i)


def question_demonstration(row: Row) -> Iterator[Demonstration]:
    if row.get("instances") is None:
        raise Refused("turns", "are questions without answers; import them --as prompts")
    for i, case in enumerate(_cases(row)):
        response = as_text(case.get("output"), f"instances[{i}].output")
        yield Demonstration(prompt=_task_prompt(row, case, i), response=response)


def _cases(row: Row) -> list[dict[str, Any]]:
    cases = as_list(row.get("instances"), "instances")
    if not cases:
        raise Refused("instances", "holds no case; one with input and output is needed")
    return [as_object(case, f"instances[{i}]") for i, case in enumerate(cases)]


def _task_prompt(row: Row, case: dict[str, Any], i: int) -> Prompt:
    given = case.get("input")
    if given is not None and not isinstance(given, str):
        raise Refused(f"instances[{i}].input", f"must be text or left out, it is {show(given)}")
    return instruction({"instruction": row.get("instruction"), "input": given})
