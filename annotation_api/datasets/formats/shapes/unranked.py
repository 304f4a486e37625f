"""Responses of one prompt that nobody has ranked: a list of them, or a column each. They fill a project's tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from alignment.shared.records import MAX_RESPONSES, Candidates, Demonstration, Prompt, Ranking, Record
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.serialised import parsed_list
from annotation_api.datasets.formats.shapes.chats import (
    CHAT,
    INPUT,
    INSTRUCTION,
    OUTPUT,
    SEVERAL,
    SYSTEM,
    asked_in,
    instruction,
)
from annotation_api.datasets.formats.shapes.own import origin
from annotation_api.datasets.formats.tool_turns import conversation, with_tools
from annotation_api.datasets.values import (
    ROLES,
    Note,
    Refused,
    Row,
    as_list,
    as_text,
    first_of,
    messages,
    prompt_of,
    show,
)

LISTS = ("responses", "completions", "generations", "candidates", "outputs", "answers")
TEXTS = ("text", "content", "response", "answer", "completion", "output", "value")
ORDER_LEFT = Note(
    Sentence(
        "note-order-responses-were-ranked",
        "the order of responses that were ranked was left out: they are to be ranked anew",
    )
)
NAMES_LEFT = Note(
    Sentence(
        "note-names-under-responses-stood",
        "the names under which the responses stood were left out: nobody who ranks them sees names",
    )
)
_SIDE = re.compile(r"(?:response|answer|completion|generation|candidate|output)[ _.-]?(\d{1,2}|[a-h])", re.IGNORECASE)
WANTED = f"a list in {', '.join(LISTS)}, or two columns such as response_1 and response_2"


def speaks(row: Row) -> bool:
    """Whether the row has a prompt without one answer of its own, and several responses."""
    if any(isinstance(row.get(name), str) for name in OUTPUT):
        return False
    asked = any(row.get(name) is not None for name in INSTRUCTION) or any(_asks(row.get(name)) for name in CHAT)
    return asked and (any(_is_list(row.get(name)) for name in LISTS) or len(response_columns(row)) > 1)


def _asks(turns: object) -> bool:
    """Whether a chat waits for an answer."""
    last = turns[-1] if isinstance(turns, list) and turns else None
    said = (last.get("role") or last.get("from")) if isinstance(last, dict) else None
    return isinstance(said, str) and ROLES.get(said.lower()) == "user"


def _is_list(value: object) -> bool:
    return bool(value) and (isinstance(value, list | dict) or (isinstance(value, str) and value.lstrip()[:1] == "["))


def response_columns(row: Row) -> list[str]:
    """The columns of a response each, in their order."""
    found = [name for name in row if isinstance(name, str) and _SIDE.fullmatch(name.strip())]
    return sorted(found, key=_place)


def mark_of(name: str) -> str:
    """The number or letter of such a column."""
    mark = _SIDE.fullmatch(name.strip())
    assert mark is not None
    return mark[1].lower()


def _place(name: str) -> tuple[int, str]:
    mark = mark_of(name)
    return (int(mark), "") if mark.isdigit() else (0, mark)


def candidates(row: Row) -> Iterator[Candidates | Note]:
    texts, notes = _texts(row)
    yield from notes
    if not 2 <= len(texts) <= MAX_RESPONSES:
        raise Refused(
            "responses",
            Sentence(
                "are-to-be-ranked",
                "are %(texts)s; to be ranked there must be 2 to %(max_responses)s",
                texts=len(texts),
                max_responses=MAX_RESPONSES,
            ),
        )
    yield Candidates(prompt=_prompt(row), responses=tuple(texts), lineage=origin(row))


def _texts(row: Row) -> tuple[list[str], list[Note]]:
    one = (name for name in OUTPUT if isinstance(row.get(name), list))  # a list under the name of one answer
    name = next((name for name in LISTS if row.get(name) is not None), None) or next(one, None)
    if name is None:
        return _of_columns(row), []
    value = row[name]
    if isinstance(value, dict):
        return [response_of(item, f"{name}.{key}") for key, item in value.items()], [NAMES_LEFT]
    items = as_list(parsed_list(value, name) if isinstance(value, str) and _is_list(value) else value, name)
    return [response_of(item, f"{name}[{i}]") for i, item in enumerate(items)], []


def _of_columns(row: Row) -> list[str]:
    """Empty cells at the end of a table's row stand for fewer responses."""
    names = response_columns(row)
    while names and row.get(names[-1]) in (None, ""):
        names.pop()
    if not names:
        raise Refused(
            "responses",
            Sentence(
                "missing-responses",
                "missing; %(wanted)s must hold the responses. Fields of this row: %(row)s",
                wanted=WANTED,
                row=_fields(row),
            ),
        )
    return [as_text(row[name], name) for name in names]


def _fields(row: Row) -> str:
    return ", ".join(list(row)[:12]) or "none"


def response_of(value: object, field: str) -> str:
    """A text, an object that holds one, or a chat of one answer."""
    if isinstance(value, dict):
        name = first_of(value, TEXTS)
        return as_text(value[name], f"{field}.{name}")
    if isinstance(value, list):
        turns = messages(value, field)
        if len(turns) != 1 or turns[0].role != "assistant":
            raise Refused(field, Sentence("text-or-message", "must be text, or one message of the assistant"))
        return turns[0].content
    if not isinstance(value, str):
        raise Refused(field, Sentence("must-be-text", "must be text, it is %(value)s", value=show(value)))
    return as_text(value, field)


def _prompt(row: Row) -> Prompt:
    if asked_in(row) is not None:
        return instruction(row)
    name = first_of(row, CHAT)
    return with_tools(row, prompt_of(conversation(row[name], name), name))


def prompt(row: Row) -> Iterator[Prompt]:
    origin(row)
    yield _prompt(row)


def no_demonstration(row: Row) -> Iterator[Demonstration]:
    raise Refused("responses", SEVERAL)


def no_ranking(row: Row) -> Iterator[Ranking]:
    beside = _beside(row)
    if beside:
        raise Refused(
            "responses",
            Sentence(
                "hold-no-known-order",
                "hold no order that is known here. If one of the fields %(beside)s says which is better, save it as "
                "`ranks` or `scores` with a number for each response, or name chosen and rejected; only where none "
                "does, import the file as responses to rank them",
                beside=", ".join(beside[:8]),
            ),
        )
    raise Refused(
        "responses",
        Sentence(
            "hold-no-order",
            "hold no order; a ranking needs to know which is better. Import the file as responses to rank them",
        ),
    )


def _beside(row: Row) -> list[str]:
    """Fields that could say how good the responses are."""
    known = {*INSTRUCTION, *CHAT, *INPUT, *SYSTEM, *LISTS, *OUTPUT, *response_columns(row), "id", "source", "history"}
    return [name for name in row if name not in known and row.get(name) not in (None, "", [], {})]


def without_order(made: Iterable[Record | Note]) -> Iterator[Record | Note]:
    """The responses of rankings, to be ranked anew."""
    for item in made:
        if isinstance(item, Ranking):
            yield ORDER_LEFT
            yield Candidates(prompt=item.prompt, responses=item.responses, lineage=item.lineage)
        elif isinstance(item, Note):
            yield item
