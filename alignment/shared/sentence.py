"""A sentence that knows its code: English as it is, and found in another language's catalogue by the code.

    raise ApiError(409, "daily-limit", Sentence("daily-limit", "You reached the limit of %(limit)s tasks.", limit=5))

It is a `str`, so REST, logs and terminals show it as any other; a page looks up its code and fills in its values.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import SkipValidation

SentenceText = Annotated[str, SkipValidation]  # of a model's field: pydantic would make a plain str of a Sentence


class Sentence(str):
    """`english` with its %(name)s filled in; a value may be a Sentence itself."""

    __slots__ = ("code", "values")

    def __new__(cls, code: str, english: str, /, **values: Any) -> Sentence:
        made = super().__new__(cls, english % values if values else english)
        made.code, made.values = code, values
        return made

    code: str
    values: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (self.code, str(self), self.values))


def packed(text: str) -> str:
    """`text` for a column that holds text: a Sentence keeps its code there."""
    if not isinstance(text, Sentence):
        return text
    return json.dumps({"said": text.code, "english": str(text), "values": text.values}, ensure_ascii=False)


def unpacked(text: str) -> str:
    """What `packed` made, as it was; any other text as it is."""
    try:
        stored = json.loads(text)
        return _again(stored["said"], stored["english"], dict(stored["values"]))
    except (ValueError, TypeError, KeyError):
        return text


def _again(code: str, english: str, values: dict[str, Any]) -> Sentence:
    """The Sentence whose English was filled in already."""
    made = Sentence(code, english)
    made.values = values
    return made
