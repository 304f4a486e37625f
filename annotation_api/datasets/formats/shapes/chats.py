"""Single examples: ShareGPT and `messages` chats, Alpaca rows, thumbs, question lists.

A chat of several turns gives one Demonstration: its last assistant turn is the response, all turns
before it are the prompt. Earlier assistant turns are context, not targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from alignment.shared.records import Demonstration, Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.serialised import is_template, opened, turns_of
from annotation_api.datasets.formats.shapes.own import origin
from annotation_api.datasets.formats.tool_turns import conversation, demonstrated, with_tools
from annotation_api.datasets.formats.weights import is_learnt, kept_out, learnt_until
from annotation_api.datasets.values import (
    Note,
    Refused,
    Row,
    as_list,
    as_object,
    as_text,
    first_of,
    optional_text,
    prompt_of,
    show,
    text,
    truth,
)

INSTRUCTION = ("instruction", "question", "prompt", "user_input", "query")
INPUT = ("input", "context")
SYSTEM = ("system", "system_prompt")
BARE = ("input", "context")  # holds the prompt where no field of INSTRUCTION does
OUTPUT = ("output", "response", "answer", "completion", "std_answer", "target")
CHAT = ("conversations", "messages", "conversation")
ITEMS = "items"  # as CHAT, in older dumps of ShareGPT
WRITTEN = ("text", "transcript", "dialogue", "dialog")  # a whole chat in one text
NOT_READ_APART = Sentence(
    "chat-of-template",
    "is a chat in a model's own template, whose turns cannot be told apart without doubt; save "
    "its turns as a list of messages with role and content",
)
LAST_ONLY = Note(
    Sentence(
        "note-chats-several-answers-last", "chats of several answers: the last is learnt, those before are its context"
    )
)
NOT_LEARNT = Note(
    Sentence("note-chats-no-answer-be", "chats in which no answer is to be learnt (weight 0) were left out")
)
CUT = Note(
    Sentence(
        "note-chats-were-cut-after",
        "chats were cut after their last answer that is to be learnt: those behind it have weight 0",
    )
)
SEVERAL = Sentence(
    "several-to-learn", "are several, and which is worth learning is not said; import the file as responses"
)
UNSAFE = Note(Sentence("note-responses-were-judged-unsafe", "responses that were judged unsafe were left out"))
OWN_FIELDS = Prompt.model_fields.keys()
NO_INPUT = re.compile(r"\W*no\s?input\W*", re.IGNORECASE)  # Alpaca's generated way to say that there is none


# ---------------------------------------------------------------- chats


def chat_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    name = chat_of(row)
    items = as_list(opened(row[name], name), name)
    until = learnt_until(items, name)
    if until == 0:
        yield NOT_LEARNT
        return
    if until < len(items):
        yield CUT
    turns = _with_system(row, conversation(items[:until], name))
    for made in demonstration_of(turns, name, tuple(kept_out(items[:until], name, len(turns)))):
        yield made if isinstance(made, Note) else made.model_copy(update={"prompt": with_tools(row, made.prompt)})


def chat_of(row: Row) -> str:
    """The field that holds the chat."""
    return ITEMS if has_items(row) and not is_chat_row(row) else first_of(row, CHAT)


def has_items(row: Row) -> bool:
    """Whether `items` holds turns."""
    items = row.get(ITEMS)
    first = items[0] if isinstance(items, list) and items else None
    return isinstance(first, dict) and bool({"from", "role"} & first.keys())


def demonstration_of(
    turns: list[Message], name: str, not_learnt: tuple[int, ...] = ()
) -> Iterator[Demonstration | Note]:
    """The last answer of the assistant after all that was said before; what is never learnt by its places."""
    if turns[-1].role != "assistant":
        raise Refused(
            f"{name}[{len(turns) - 1}]",
            Sentence(
                "last-not-assistant",
                "the last turn must be the assistant's, it is the %(role)s's: there is no response to learn",
                role=turns[-1].role,
            ),
        )
    prompt = prompt_of(turns[:-1], name)
    if any(turn.role == "assistant" for turn in prompt.messages):
        yield LAST_ONLY
    yield demonstrated(prompt, turns[-1], not_learnt=not_learnt)


def chat_prompt(row: Row) -> Iterator[Prompt]:
    """The turns up to the last of the user; what else our own prompts hold is kept."""
    name = chat_of(row)
    turns = _with_system(row, conversation(opened(row[name], name), name))
    own = {key: row[key] for key in ("criterion", "language") if key in row} if row.keys() <= OWN_FIELDS else {}
    yield with_tools(row, prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, name, **own))


def _with_system(row: Row, turns: list[Message]) -> list[Message]:
    """LLaMA-Factory's ShareGPT rows may hold the system message beside the turns."""
    system = optional_text(row, *SYSTEM)
    return [Message(role="system", content=system), *turns] if system.strip() and turns[0].role != "system" else turns


def is_chat_row(row: Row) -> bool:
    return any(row.get(name) is not None for name in CHAT)


# ---------------------------------------------------------------- Alpaca


def alpaca_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    if row.get("is_safe") is not None and not truth(row, "is_safe"):  # BeaverTails
        yield UNSAFE
        return
    name = first_of(row, OUTPUT)
    if isinstance(row[name], list) and name == "output":
        raise Refused(
            name, Sentence("import-as-rankings", "is a list of answers, which is a ranking; import it as rankings")
        )
    if isinstance(row[name], list) and name != "completion":
        raise Refused(name, SEVERAL)
    if isinstance(row[name], list) and not all(is_learnt(turn, f"{name}[{i}]") for i, turn in enumerate(row[name])):
        yield NOT_LEARNT
        return
    prompt, reply = instruction(row), _completion(row[name], name)
    kept_out = _kept_out_of_prompt(row, len(prompt.messages))
    yield demonstrated(prompt, reply, not_learnt=kept_out, lineage=origin(row))


def _kept_out_of_prompt(row: Row, turns: int) -> tuple[int, ...]:
    """The same of a prompt that is a list of messages."""
    name = asked_in(row)
    return tuple(kept_out(row[name], name, turns)) if name and isinstance(row[name], list) else ()


def alpaca_prompt(row: Row) -> Iterator[Prompt]:
    origin(row)
    yield instruction(row)


def _completion(value: object, field: str) -> Message:
    """Text, or TRL's list of one assistant message."""
    if not isinstance(value, list):
        return Message(role="assistant", content=as_text(value, field))
    turns = conversation(value, field)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise Refused(field, Sentence("one-message-or-text", "must be one assistant message or text"))
    return turns[0]


def instruction(row: Row, **fields: Any) -> Prompt:
    """Instruction and input, parted by an empty line; earlier `history` turns and `system` before them.

    TRL's prompt as a list of messages is taken as it is.
    """
    name = asked_in(row) or first_of(row, INSTRUCTION)
    system = optional_text(row, *SYSTEM)
    if isinstance(row[name], list):
        turns = conversation(row[name], name)
        said = [Message(role="system", content=system)] if system.strip() and turns[0].role != "system" else []
        return with_tools(row, prompt_of([*said, *turns], name, **fields))
    asked = turns_of(text(row, name), name) or [Message(role="user", content=_with_input(row, name))]
    turns = [Message(role="system", content=system)] if system.strip() and asked[0].role != "system" else []
    return with_tools(row, prompt_of([*turns, *_history(row), *asked], name, **fields))


def asked_in(row: Row) -> str | None:
    """The field that holds the prompt, if one does."""
    return next((name for name in INSTRUCTION if row.get(name) is not None), None) or next(
        (name for name in BARE if row.get(name)), None
    )


def only_asks(row: Row) -> bool:
    """Whether nothing stands beside the prompt that could be its answer."""
    return all(row.get(name) is None for name in OUTPUT)


def answers_input(row: Row) -> bool:
    """Whether `input` or `context` stands for the prompt, beside one answer."""
    return asked_in(row) is not None and any(isinstance(row.get(name), str) for name in OUTPUT)


def _with_input(row: Row, name: str) -> str:
    beside = [field for field in INPUT if field != name]
    given = [said for field in beside if (said := optional_text(row, field)).strip() and not NO_INPUT.fullmatch(said)]
    return "\n\n".join([text(row, name), *given])


def _history(row: Row) -> Iterator[Message]:
    """Earlier [user, assistant] pairs."""
    for i, pair in enumerate(as_list(row.get("history") or [], "history")):
        field = f"history[{i}]"
        turns = as_list(pair, field)
        if len(turns) != 2:
            raise Refused(
                field,
                Sentence(
                    "pair-of-two", "must be a pair of question and answer, it has %(turns)s parts", turns=len(turns)
                ),
            )
        yield Message(role="user", content=as_text(turns[0], f"{field}[0]"))
        yield Message(role="assistant", content=as_text(turns[1], f"{field}[1]"))


# ---------------------------------------------------------------- a whole chat in one text (guanaco)


def written_demonstration(row: Row) -> Iterator[Demonstration | Note]:
    yield from demonstration_of(_written(row), first_of(row, WRITTEN))


def written_prompt(row: Row) -> Iterator[Prompt]:
    turns = _written(row)
    yield prompt_of(turns[:-1] if turns[-1].role == "assistant" else turns, first_of(row, WRITTEN))


def _written(row: Row) -> list[Message]:
    name = first_of(row, WRITTEN)
    turns = turns_of(text(row, name), name)
    if turns is None and is_template(text(row, name)):
        raise Refused(name, NOT_READ_APART)
    if turns is None:
        raise Refused(name, Sentence("no-chat-such-as", "holds no chat such as '### Human: ...### Assistant: ...'"))
    return turns


# ---------------------------------------------------------------- question lists


def question_prompt(row: Row) -> Iterator[Prompt]:
    """The first turn of MT-bench and Vicuna questions; a Self-Instruct seed task with each of its inputs.

    Later MT-bench turns ask about an answer that only a model can give, so they are no prompts yet.
    """
    if row.get("turns") is not None:
        turns = as_list(row["turns"], "turns")
        first = turns[0] if turns else None
        yield Prompt.from_text(as_text(first.get("content") if isinstance(first, dict) else first, "turns[0]"))
    else:
        for i, case in enumerate(_cases(row)):
            yield _task_prompt(row, case, i)


def question_demonstration(row: Row) -> Iterator[Demonstration]:
    if row.get("instances") is None:
        raise Refused("turns", Sentence("questions-only", "are questions without answers; import them as prompts"))
    for i, case in enumerate(_cases(row)):
        response = as_text(case.get("output"), f"instances[{i}].output")
        yield Demonstration(prompt=_task_prompt(row, case, i), response=response)


def _cases(row: Row) -> list[dict[str, Any]]:
    cases = as_list(row.get("instances"), "instances")
    if not cases:
        raise Refused("instances", Sentence("no-case", "holds no case; one with input and output is needed"))
    return [as_object(case, f"instances[{i}]") for i, case in enumerate(cases)]


def _task_prompt(row: Row, case: dict[str, Any], i: int) -> Prompt:
    given = case.get("input")
    if given is not None and not isinstance(given, str):
        raise Refused(
            f"instances[{i}].input",
            Sentence("text-or-left-out", "must be text or left out, it is %(given)s", given=show(given)),
        )
    return instruction({"instruction": row.get("instruction"), "input": given})
