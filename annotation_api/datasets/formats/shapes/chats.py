"""Single examples: ShareGPT and `messages` chats, Alpaca rows, thumbs, question lists.

A chat of several turns gives one Demonstration: its last assistant turn is the response, all turns
before it are the prompt. Earlier assistant turns are context, not targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Message, Prompt
from annotation_api.datasets.formats.serialised import turns_of
from annotation_api.datasets.formats.shapes.own import origin
from annotation_api.datasets.values import (
    Note,
    Refused,
    Row,
    as_list,
    as_number,
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
SYSTEM = ("system", "system_prompt")
OUTPUT = ("output", "response", "answer", "completion", "std_answer")
CHAT = ("conversations", "messages", "conversation")
LAST_ONLY = Note("chats of several answers: the last is learnt, those before are its context")
NOT_LEARNT = Note("chats whose last answer has weight 0 were left out")
UNSAFE = Note("responses that were judged unsafe were left out")
OWN_FIELDS = Prompt.model_fields.keys()
NO_INPUT = re.compile(r"\W*no\s?input\W*", re.IGNORECASE)  # Alpaca's generated way to say that there is none


# ---------------------------------------------------------------- chats


def chat_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    name = first_of(row, CHAT)
    yield from demonstration_of(_with_system(row, messages(row[name], name)), name, learnt=_learnt(row[name], name))


def demonstration_of(turns: list[Message], name: str, *, learnt: bool = True) -> Iterator[Demonstration | Note]:
    """The last answer of the assistant after all that was said before."""
    if turns[-1].role != "assistant":
        raise Refused(
            f"{name}[{len(turns) - 1}]",
            f"the last turn must be the assistant's, it is the {turns[-1].role}'s: there is no response to learn",
        )
    prompt = prompt_of(turns[:-1], name)
    if any(turn.role == "assistant" for turn in prompt.messages):
        yield LAST_ONLY
    if learnt:
        yield Demonstration(prompt=prompt, response=turns[-1].content)
    else:
        yield NOT_LEARNT


def _learnt(turns: list[Any], name: str) -> bool:
    """Whether the last turn is to be learnt: OpenAI's `weight` can be 0. Those before it are its context."""
    weight = [turn.get("weight") for turn in turns][-1]
    if weight is None:
        return True
    if as_number(weight, f"{name}[{len(turns) - 1}].weight") not in (0, 1):
        raise Refused(f"{name}[{len(turns) - 1}].weight", f"must be 0 or 1, it is {show(weight)}")
    return bool(float(weight))


def chat_prompt(row: Row) -> Iterator[Prompt]:
    """The turns up to the last of the user; what else our own prompts hold is kept."""
    name = first_of(row, CHAT)
    turns = _with_system(row, messages(row[name], name))
    own = {key: row[key] for key in ("criterion", "language") if key in row} if row.keys() <= OWN_FIELDS else {}
    yield prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, name, **own)


def _with_system(row: Row, turns: list[Message]) -> list[Message]:
    """LLaMA-Factory's ShareGPT rows may hold the system message beside the turns."""
    system = optional_text(row, *SYSTEM)
    return [Message(role="system", content=system), *turns] if system.strip() and turns[0].role != "system" else turns


# ---------------------------------------------------------------- thumbs (KTO)


def thumb_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    if not truth(row, "label"):
        raise Refused("label", "is false: a response that was disliked is no demonstration; leave the row out")
    yield from chat_demonstration(row) if _is_chat(row) else alpaca_demonstration(row)


def thumb_prompt(row: Row) -> Iterator[Prompt]:
    yield from chat_prompt(row) if _is_chat(row) else alpaca_prompt(row)


def _is_chat(row: Row) -> bool:
    return any(row.get(name) is not None for name in CHAT)


# ---------------------------------------------------------------- Alpaca


def alpaca_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    if row.get("is_safe") is not None and not truth(row, "is_safe"):  # BeaverTails
        yield UNSAFE
        return
    name = first_of(row, OUTPUT)
    if isinstance(row[name], list) and name != "completion":
        raise Refused(name, "is a list of answers, which is a ranking; import it as rankings")
    yield Demonstration(prompt=instruction(row), response=_completion(row[name], name), lineage=origin(row))


def alpaca_prompt(row: Row) -> Iterator[Prompt]:
    origin(row)
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
    asked = turns_of(text(row, name), name) or [Message(role="user", content=_with_input(row, name))]
    system = optional_text(row, *SYSTEM)
    turns = [Message(role="system", content=system)] if system.strip() and asked[0].role != "system" else []
    return prompt_of([*turns, *_history(row), *asked], name, **fields)


def _with_input(row: Row, name: str) -> str:
    given = [said for field in INPUT if (said := optional_text(row, field)).strip() and not NO_INPUT.fullmatch(said)]
    return "\n\n".join([text(row, name), *given])


def _history(row: Row) -> Iterator[Message]:
    """Earlier [user, assistant] pairs."""
    for i, pair in enumerate(as_list(row.get("history") or [], "history")):
        field = f"history[{i}]"
        turns = as_list(pair, field)
        if len(turns) != 2:
            raise Refused(field, f"must be a pair of question and answer, it has {len(turns)} parts")
        yield Message(role="user", content=as_text(turns[0], f"{field}[0]"))
        yield Message(role="assistant", content=as_text(turns[1], f"{field}[1]"))


# ---------------------------------------------------------------- a whole chat in one text (guanaco)


def written_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    yield from demonstration_of(_written(row), "text")


def written_prompt(row: Row) -> Iterator[Prompt]:
    turns = _written(row)
    yield prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, "text")


def _written(row: Row) -> list[Message]:
    turns = turns_of(text(row, "text"), "text")
    if turns is None:
        raise Refused("text", "holds no chat such as '### Human: ...### Assistant: ...'")
    return turns


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
        raise Refused("turns", "are questions without answers; import them as prompts")
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
