"""Chats that were written into one text: told by their marks, and taken apart into turns.

`\\n\\nHuman: ...\\n\\nAssistant: ...` (HH), `### Human: ...### Assistant: ...` (guanaco), ChatML, and a JSON
list of messages.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from dataclasses import dataclass

from alignment.shared.records import Message, Prompt
from alignment.shared.sentence import Sentence
from annotation_api.datasets.files import limits
from annotation_api.datasets.files.csv_rows import LONGEST_CHAT
from annotation_api.datasets.files.json_rows import check_storable
from annotation_api.datasets.formats.tool_turns import conversation
from annotation_api.datasets.values import Refused, as_text, messages, prompt_of

_SPEAKERS = {"human": "user", "user": "user", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Marks:
    """How a text of this kind begins, and what parts its turns; a group names the speaker."""

    begins: re.Pattern[str]
    parts: re.Pattern[str]
    first: str = ""  # who speaks before the first mark; nobody, where the text begins with one


KINDS = (
    Marks(
        re.compile(r"\s*Human:.*?(?:\r?\n){2}Assistant:", re.DOTALL),
        re.compile(r"(?:^\s*|(?:\r?\n){2})(Human|Assistant):"),
    ),
    Marks(re.compile(r"\s*### Human:.*?### Assistant:", re.DOTALL), re.compile(r"\s*### (Human|Assistant):")),
    Marks(
        re.compile(r"\s*<\|im_start\|>(?:system|user)\s"),
        re.compile(r"(?:<\|im_end\|>)?\s*<\|im_start\|>(system|user|assistant)"),
    ),
    Marks(  # HelpSteer: the user's first words bear no mark
        re.compile(r"[^<]*(?:<(?!extra_id_1>)[^<]*)*<extra_id_1>(?:Assistant|User)\n"),
        re.compile(r"\n?<extra_id_1>(Assistant|User)\n"),
        first="user",
    ),
)
# Begins as a chat of a model's own template, whose turns cannot be told apart without doubt: refused, never text.
TEMPLATES = (
    re.compile(r"\s*(?:<s>)?\s*\[INST\]"),
    re.compile(r"\s*(?:<\|begin_of_text\|>)?<\|start_header_id\|>"),
    re.compile(r"(?:.{0,400}?\s)??\s*### Instruction:.*?### Response:", re.DOTALL),
    re.compile(r"\s*(?:USER:.*?\sASSISTANT|User:.*?\n\s*Assistant):", re.DOTALL),
    re.compile(r"\s*Human:[^\n]*\n(?!\n)\s*(?:Assistant|AI):"),
    re.compile(r"(?:.{0,400}?\s)??\s*\[\|Human\|\].*?\[\|AI\|\]", re.DOTALL),
    re.compile(r"\s*\[Round \d+\]\s*问[:：]"),  # ChatGLM
    re.compile(r"\s*(?:###\s*)?(?:用户|人类)[:：].*?\s(?:###\s*)?(?:助手|助理|模型)[:：]", re.DOTALL),
    re.compile(
        r"\s*(?:\[gMASK\]|<sop>|<bos>|<｜begin▁of▁sentence｜>)*<(?:\|(?:user|system|assistant)\||start_of_turn|｜User｜)>"
    ),
    re.compile(r"\s*<\|start\|>(?:user|system|developer)<\|message\|>"),  # harmony
    re.compile(r"\s*(?:<BOS_TOKEN>)?<\|(?:START_OF_TURN_TOKEN|start_of_role)\|>"),  # Command R, Granite
    re.compile(r"\s*(?:<s>)?\s*\[SYSTEM_PROMPT\]"),
)
# One of these stands in each of them.
_WORDS = (
    *("Human:", "<|", "[INST]", "### Instruction:", "USER:", "User:", "[|Human|]", "<extra_id_1>", "<start_of_turn>"),
    *("[Round ", "用户", "人类", "<｜User｜>", "[SYSTEM_PROMPT]"),
)
_JSON = re.compile(r'\s*\[\s*\{\s*["\'](?:role|from|content|value)["\']\s*:')
_END = "<|im_end|>"


def is_chat(text: str) -> bool:
    """Whether the text begins as a chat that was written into it."""
    return bool(_JSON.match(text)) or is_template(text) or _kind_of(text) is not None


def is_template(text: str) -> bool:
    """Whether it begins as a chat of a model's own template."""
    return _is_marked(text) and any(mark.match(text) for mark in TEMPLATES)


def _kind_of(text: str) -> Marks | None:
    return next((kind for kind in KINDS if kind.begins.match(text)), None) if _is_marked(text) else None


def _is_marked(text: str) -> bool:
    """Whether any mark stands in it at all: most texts have none, and to look for a word costs next to nothing."""
    return any(word in text for word in _WORDS)


def turns_of(text: str, field: str) -> list[Message] | None:
    """The turns of such a text; None for any other. A last turn of the assistant without words is left out."""
    if _JSON.match(text):
        return _from_json(text, field)
    kind = _kind_of(text)
    if kind is None:
        return None
    before, *parts = kind.parts.split(text)
    if kind.first and before.strip():
        parts = [kind.first, before, *parts]
    pairs = list(zip(parts[::2], (part.strip().removesuffix(_END).strip() for part in parts[1::2]), strict=True))
    if pairs[-1][1] == "" and pairs[-1][0].lower() == "assistant":
        pairs.pop()
    return messages([{"role": _SPEAKERS[who.lower()], "content": said} for who, said in pairs], field)


def _from_json(text: str, field: str) -> list[Message]:
    return conversation(parsed_list(text, field), field)


def parsed_list(text: str, field: str) -> object:
    """JSON that stands in a text. Refused when it is none, or holds what cannot be stored."""
    try:
        value = json.loads(text)
    except ValueError as error:
        value = _printed_by_python(text)
        if value is None:
            raise Refused(
                field, Sentence("list-no-json", "begins as a list but is no JSON: %(error)s", error=str(error)[:100])
            ) from None
    except RecursionError:
        raise Refused(
            field, Sentence("row-nested", "is nested deeper than %(MAX_DEPTH)s levels", MAX_DEPTH=limits.MAX_DEPTH)
        ) from None
    check_storable(value)
    return value


def _printed_by_python(text: str) -> list[str] | None:
    """A list of texts as Python prints it. None for any other, also where no comma parts two texts (numpy)."""
    if len(text) > LONGEST_CHAT:
        return None
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
        items = (
            [item for item in parsed.elts if _is_one_text(text.strip(), item)] if isinstance(parsed, ast.List) else []
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    whole = bool(items) and isinstance(parsed, ast.List) and len(items) == len(parsed.elts)
    return [item.value for item in items] if whole else None  # type: ignore[attr-defined]


def _is_one_text(text: str, item: ast.expr) -> bool:
    """Whether the item is one text, not two that Python would join."""
    if not isinstance(item, ast.Constant) or not isinstance(item.value, str):
        return False
    source = ast.get_source_segment(text, item) or ""
    return sum(token.type == tokenize.STRING for token in tokenize.generate_tokens(io.StringIO(source).readline)) == 1


def opened(value: object, field: str) -> object:
    """A chat that was written as JSON as the list that it is; anything else as it stands."""
    return parsed_list(value, field) if isinstance(value, str) and _JSON.match(value) else value


def prompt_from(value: object, field: str) -> Prompt:
    """A prompt from a list of messages, from a text with a chat in it, or from a text."""
    if isinstance(value, list):
        return prompt_of(conversation(value, field), field)
    said = as_text(value, field)
    turns = turns_of(said, field)
    return Prompt.from_text(said) if turns is None else prompt_of(turns, field)
