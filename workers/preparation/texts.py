"""The texts of a record: read, and written anew with the hash of what stood there before."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from alignment.shared.records import Candidates, Demonstration, Prompt, Ranking, sha256_text
from workers.preparation import tool_texts

Prepared = Prompt | Demonstration | Candidates | Ranking
_TOKEN = re.compile(r"[㐀-鿿぀-ヿ가-힯]|[^\W_]+")
_HAN = re.compile(r"[㐀-鿿]")
ORIGINAL = "original"  # in the lineage: the hash of the record before a text of it was changed


def prompt_of(record: Prepared) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def responses_of(record: Prepared) -> tuple[str, ...]:
    if isinstance(record, Prompt):
        return ()
    return (record.reply.text,) if isinstance(record, Demonstration) else record.responses


def prompt_texts(prompt: Prompt) -> list[str]:
    """Each turn, what it asks of tools included, and the descriptions of tools."""
    return [turn.text for turn in prompt.messages] + list(prompt.tools or ())


def all_texts(record: Prepared) -> list[str]:
    return prompt_texts(prompt_of(record)) + list(responses_of(record))


def written_texts(record: Prepared) -> list[str]:
    """All that people wrote, in the pieces that `rewritten` changes; also why somebody ranked so, unread by models."""
    prompt, aside = prompt_of(record), record.rationale if isinstance(record, Ranking) else None
    said = (record.response,) if isinstance(record, Demonstration) else responses_of(record)
    calls = record.tool_calls if isinstance(record, Demonstration) else None
    tools = [*tool_texts.of_prompt(prompt), *tool_texts.of_calls(calls)]
    return [*(turn.content for turn in prompt.messages), *said, *tools, *([aside] if aside else [])]


def learnt_text(record: Prepared) -> str:
    """What quality is asked of: the response that is imitated, else the prompt. A ranking needs bad responses, too."""
    return (record.response if isinstance(record, Demonstration) else "") or prompt_of(record).request


def rewritten(record: Prepared, change: Callable[[str], str], *, responses_only: bool = False) -> Prepared:
    """The record with each text changed. Raises ValueError where it is then none: two ranks of one text."""
    prompt = prompt_of(record)
    if not responses_only:
        prompt = tool_texts.changed_prompt(prompt, change)
    if isinstance(record, Prompt):
        return prompt
    fields = {name: getattr(record, name) for name in type(record).model_fields}
    if isinstance(record, Demonstration):
        fields["response"] = change(record.response)
        fields["tool_calls"] = (
            record.tool_calls if responses_only else tool_texts.changed_calls(record.tool_calls, change)
        )
    else:
        fields["responses"] = tuple(change(text) for text in record.responses)
    if isinstance(record, Ranking) and record.rationale and not responses_only:
        fields["rationale"] = change(record.rationale)
    before = record.lineage.get(ORIGINAL) or sha256_text(record.canonical())
    return type(record)(**{**fields, "prompt": prompt, "lineage": {**record.lineage, ORIGINAL: before}})


def normalised(text: str) -> str:
    """Letter case, width and blanks aside."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_chinese(text: str) -> bool:
    """Whether a third of its letters are Chinese characters."""
    letters = sum(sign.isalpha() for sign in text)
    return len(_HAN.findall(text)) > letters / 3


def tokens(text: str) -> list[str]:
    """Words; characters of Chinese, Japanese and Korean stand alone."""
    return _TOKEN.findall(text.lower())
