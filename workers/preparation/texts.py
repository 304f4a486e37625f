"""The texts of a record: read, and written anew with the hash of what stood there before."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from alignment.shared.records import Candidates, Demonstration, Message, Prompt, Ranking, sha256_text

Prepared = Prompt | Demonstration | Candidates | Ranking
_TOKEN = re.compile(r"[㐀-鿿぀-ヿ가-힯]|[^\W_]+")
_HAN = re.compile(r"[㐀-鿿]")
ORIGINAL = "original"  # in the lineage: the hash of the record before a text of it was changed


def prompt_of(record: Prepared) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def responses_of(record: Prepared) -> tuple[str, ...]:
    if isinstance(record, Prompt):
        return ()
    return (record.response,) if isinstance(record, Demonstration) else record.responses


def all_texts(record: Prepared) -> list[str]:
    return [turn.content for turn in prompt_of(record).messages] + list(responses_of(record))


def written_texts(record: Prepared) -> list[str]:
    """All that people wrote: with why somebody ranked so, which no model reads."""
    aside = record.rationale if isinstance(record, Ranking) else None
    return all_texts(record) + ([aside] if aside else [])


def learnt_text(record: Prepared) -> str:
    """What quality is asked of: the response that is imitated, else the prompt. A ranking needs bad responses, too."""
    return record.response if isinstance(record, Demonstration) else prompt_of(record).messages[-1].content


def rewritten(record: Prepared, change: Callable[[str], str], *, responses_only: bool = False) -> Prepared:
    """The record with each text changed. Raises ValueError where it is then none: two ranks of one text."""
    prompt = prompt_of(record)
    if not responses_only:
        turns = tuple(Message(role=turn.role, content=change(turn.content)) for turn in prompt.messages)
        prompt = Prompt(messages=turns, criterion=prompt.criterion, language=prompt.language)
    if isinstance(record, Prompt):
        return prompt
    fields = {name: getattr(record, name) for name in type(record).model_fields}
    if isinstance(record, Demonstration):
        fields["response"] = change(record.response)
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
