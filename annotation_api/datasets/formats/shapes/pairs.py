"""Two responses and which one was preferred: chosen/rejected rows, judged pairs."""

from __future__ import annotations

from collections.abc import Iterator

from alignment.shared.records import SMALL_MARGINS, Demonstration, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.formats.orders import Made, best_first, by_groups
from annotation_api.datasets.formats.serialised import is_chat, opened
from annotation_api.datasets.formats.shapes.chats import (
    BARE,
    CHAT,
    INPUT,
    INSTRUCTION,
    SYSTEM,
    alpaca_demonstration,
    asked_in,
    chat_demonstration,
    instruction,
)
from annotation_api.datasets.formats.shapes.own import origin
from annotation_api.datasets.formats.tool_turns import DEFINITIONS, conversation, only_text, with_tools
from annotation_api.datasets.values import (
    Note,
    Refused,
    Row,
    as_number,
    as_text,
    first_of,
    message,
    optional_text,
    prompt_of,
)

# Other names under which public sets hold the better and the worse response.
SIDES = (
    ("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response_chosen", "response_rejected"),
    ("better", "worse"), ("better_response", "worse_response"), ("preferred", "dispreferred"),
    ("preferred_response", "dispreferred_response"), ("positive", "negative"), ("pos_resp", "neg_resp"),
    ("win", "lose"), ("accepted", "rejected"), ("good_edited_response", "bad_edited_response"),
    ("chosen-response", "rejected-response"), ("chosen response", "rejected response"),
)  # fmt: skip
BESIDE = (*INPUT, *SYSTEM, *DEFINITIONS, "history", "margin", "weight", "annotator", "split", "lineage")
REFUSED_SIDE = ("rejected_response", "rejected_messages")  # beside a whole chat or one answer (ms-swift)
MARGIN_ERROR = 1e-6
MARGIN_LOST = Note(
    Sentence("note-margins-are-none-steps", "margins that are none of the steps 1/3, 2/3 and 1 were left out")
)

# ---------------------------------------------------------------- chosen and rejected (TRL, ShareGPT)


def sides_of(row: Row) -> tuple[str, str] | None:
    """The names of the better and of the worse response."""
    return next((pair for pair in SIDES if all(row.get(name) is not None for name in pair)), None)


def has_sides(row: Row) -> bool:
    return sides_of(row) is not None


def asks_nothing(row: Row) -> bool:
    """Whether two texts stand there, and nothing that is known to ask."""
    names = sides_of(row)
    texts = names is not None and all(isinstance(row.get(name), str) and not is_chat(row[name]) for name in names)
    return texts and not _has_own_prompt(row)


def _named(row: Row) -> Row:
    """The row with `chosen` and `rejected` under these names, and opened where they are chats written as JSON."""
    names = sides_of(row)
    if names is None:
        return row
    both = {"chosen": opened(row[names[0]], names[0]), "rejected": opened(row[names[1]], names[1])}
    rest = {name: row.get(name) for name in (*INSTRUCTION, *CHAT, *BESIDE) if name in row}
    return {**rest, **both}


def chosen_ranking(row: Row) -> Made:
    """The prompt is `prompt`, `conversations`, or instruction and input; sides are text or messages.

    Sides that are whole message lists share all but the last; a prompt beside them must be among what they share.
    """
    row = _named(row)
    if _whole_chats(row):
        prompt, sides = _shared(row)
        prompt = _continued(row, prompt)
    elif _several(row):
        yield from _several_sides(row)
        return
    else:
        prompt, sides = _own_prompt(row), (_side(row, "chosen"), _side(row, "rejected"))
    strength, note = _strength(row, sides)
    if note:
        yield note
    weight = row.get("weight")
    fields = {} if weight in (None, "") else {"weight": as_number(weight, "weight")}
    annotator = optional_text(row, "annotator") or None
    yield from best_first(
        prompt, sides, "rejected", strength=strength, annotator=annotator, lineage=origin(row), **fields
    )


def refused_beside(row: Row) -> bool:
    """Whether a chat or an answer stands beside the response that was worse."""
    return any(row.get(name) is not None for name in REFUSED_SIDE)


def beside_ranking(row: Row) -> Made:
    """ms-swift: `messages`, or query and response, are the better side; the worse one stands in a field of its own."""
    name = first_of(row, REFUSED_SIDE)
    shown = _shown(row)
    worse = row[name]
    if isinstance(worse, list):
        turns = conversation(worse, name)
        if turns[-1].role != "assistant" or tuple(turns[:-1]) != shown.prompt.messages:
            raise Refused(
                name,
                Sentence(
                    "parts-from-messages",
                    "parts from messages before the last answer; both must share every turn but the last",
                ),
            )
        worse = only_text(turns[-1], f"{name}[{len(turns) - 1}]")
    yield from best_first(shown.prompt, (only_text(shown.reply, ""), as_text(worse, name)), name)


def beside_prompt(row: Row) -> Iterator[Prompt]:
    yield _shown(row).prompt


def _shown(row: Row) -> Demonstration:
    """The better side. Refused when it is one that is not to be learnt."""
    made = chat_demonstration(row) if any(row.get(name) is not None for name in CHAT) else alpaca_demonstration(row)
    found = next((item for item in made if isinstance(item, Demonstration)), None)
    if found is None:
        raise Refused(
            "",
            Sentence(
                "not-to-be-learnt",
                "says that its answer is not to be learnt (weight 0, or unsafe), and holds it for the better one",
            ),
        )
    return found


def chosen_prompt(row: Row) -> Iterator[Prompt]:
    row = _named(row)
    yield _continued(row, _shared(row)[0]) if _whole_chats(row) else _own_prompt(row)


def _whole_chats(row: Row) -> bool:
    """Whether the sides hold the prompt: nothing else does, or they are lists of several messages."""
    if _several(row):
        return False
    long = any(isinstance(row.get(name), list) and len(row[name]) > 1 for name in ("chosen", "rejected"))
    return long or not _has_own_prompt(row)


def _several(row: Row) -> bool:
    """Whether the sides are lists of texts: several good responses, or several bad ones (RewardBench 2)."""
    both = [row.get(name) for name in ("chosen", "rejected")]
    texts = [isinstance(side, list) and bool(side) and all(isinstance(text, str) for text in side) for side in both]
    return any(texts) and all(found or isinstance(side, str) for found, side in zip(texts, both, strict=True))


def _several_sides(row: Row) -> Made:
    """Every one of `chosen` is better than every one of `rejected`; more is not said."""
    sides = [row[name] if isinstance(row[name], list) else [row[name]] for name in ("chosen", "rejected")]
    better, worse = ([as_text(text, name) for text in side] for name, side in zip(SIDES[0], sides, strict=True))
    groups = (tuple(range(len(better))), tuple(range(len(better), len(better) + len(worse))))
    yield from by_groups(_own_prompt(row), [*better, *worse], groups, "rejected", lineage=origin(row))


def _continued(row: Row, shared: Prompt) -> Prompt:
    """The whole prompt. One beside whole chats is part of them, or comes before them as in TRL's explicit prompts."""
    name = asked_in(row)
    if name is None or (name in BARE and not isinstance(row[name], list)):  # a text beside chats is no prompt of theirs
        return shared
    own = instruction(row)
    said = [turn.content.strip() for turn in shared.messages]
    if all(turn.content.strip() in said for turn in own.messages if turn.role == "user"):
        return shared
    if shared.messages[0].role != "assistant":
        raise Refused(
            "prompt",
            Sentence("not-among-turns", "is not among the turns before the last answer of chosen and rejected"),
        )
    return with_tools(row, prompt_of([*own.messages, *shared.messages], "chosen"))


def _strength(row: Row, sides: tuple[str, str]) -> tuple[int | None, Note | None]:
    """The step that a margin of our own exports stands for; another margin cannot be kept."""
    if row.get("margin") in (None, ""):  # an empty cell
        return None, None
    margin = as_number(row["margin"], "margin")
    if margin < 0:
        raise Refused(
            "margin",
            Sentence(
                "margin-below-zero",
                "is %(margin)s: below 0 the rejected response would be the better one",
                margin=f"{margin:g}",
            ),
        )
    if margin == 0 or sides[0] == sides[1]:
        return None, None
    step = next((step for step, size in SMALL_MARGINS.items() if abs(size - margin) < MARGIN_ERROR), None)
    return step, None if step else MARGIN_LOST


def _has_own_prompt(row: Row) -> bool:
    return asked_in(row) is not None or any(row.get(name) is not None for name in CHAT)


def _own_prompt(row: Row) -> Prompt:
    chat = any(row.get(name) is not None for name in CHAT)
    if asked_in(row) is not None and not (chat and not any(row.get(name) is not None for name in INSTRUCTION)):
        return instruction(row)
    name = first_of(row, CHAT)
    return with_tools(row, prompt_of(conversation(row[name], name), name))


def _side(row: Row, name: str) -> str:
    """Text, one message, or a list of one message."""
    value = row.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return as_text(value, name)
    said = message(value, name)
    if said.role != "assistant":
        raise Refused(
            name,
            Sentence("must-be-assistants", "must be the assistant's message, it is the %(role)s's", role=said.role),
        )
    return said.content


def _shared(row: Row) -> tuple[Prompt, tuple[str, str]]:
    for name in ("chosen", "rejected"):
        if not isinstance(row.get(name), list):
            raise Refused(
                "prompt",
                Sentence(
                    "missing-name-it",
                    "missing; name it in one of %(columns)s",
                    columns=", ".join((*INSTRUCTION, *CHAT)),
                ),
            )
    chosen, rejected = conversation(row["chosen"], "chosen"), conversation(row["rejected"], "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise Refused(
            "rejected",
            Sentence(
                "parts-before-message",
                "parts from chosen before the last message; both must share every turn but the last",
            ),
        )
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise Refused(
                name,
                Sentence(
                    "must-end-assistant",
                    "must end with the assistant's message, it ends with the %(role)s's",
                    role=turns[-1].role,
                ),
            )
    last = len(chosen) - 1
    sides = only_text(chosen[last], f"chosen[{last}]"), only_text(rejected[last], f"rejected[{last}]")
    return with_tools(row, prompt_of(chosen[:-1], "chosen")), sides


# ---------------------------------------------------------------- judged pairs
