"""A sentence that knows its code: English as it is, and found in another language's catalogue by the code.

    raise ApiError(409, "daily-limit", Sentence("daily-limit", "You reached the limit of %(limit)s tasks.", limit=5))

It is a `str`, so REST, logs and terminals show it as any other; a page looks up its code and fills in its values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar


class Sentence(str):
    """`english` with its %(name)s filled in; a value may be a Sentence itself."""

    __slots__ = ("code", "values")

    def __new__(cls, code: str, english: str, /, **values: Any) -> Sentence:
        return cls.filled(code, english % values if values else english, values)

    @classmethod
    def filled(cls, code: str, english: str, values: Mapping[str, Any]) -> Sentence:
        """The Sentence whose English has its values already."""
        made = super().__new__(cls, english)
        made.code, made.values = code, {name: _plain(value) for name, value in values.items()}
        return made

    code: str
    values: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return (Sentence.filled, (self.code, str(self), self.values))


def counted(code: str, one: str, more: str, /, n: float, **values: Any) -> Sentence:
    """What English says otherwise of one thing than of several; a catalogue has one text for both, by the code."""
    return Sentence(code, one if n == 1 else more, n=n if isinstance(n, int) else f"{n:g}", **values)


Words = TypeVar("Words", Sentence, str)


def in_turn(said: Sequence[Words]) -> Words:
    """Several sentences as one, each of which keeps its code."""
    return reduce(lambda first, then: Sentence("then", "%(first)s %(then)s", first=first, then=then), said)


def either(words: Iterable[str]) -> str:
    """`a or b or c`."""
    return reduce(lambda one, then: Sentence("one-or", "%(one)s or %(then)s", one=one, then=then), words)


def _plain(value: Any) -> Any:
    """A value as JSON has it; of an exception, what it says."""
    if isinstance(value, BaseException) and value.args and isinstance(value.args[0], Sentence):
        return value.args[0]
    whole = isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if whole else str(value)


def parts(text: str) -> Any:
    """`text` as JSON that keeps the codes, for `joined`."""
    if not isinstance(text, Sentence):
        return text
    values = {name: parts(value) if isinstance(value, Sentence) else value for name, value in text.values.items()}
    return {"said": text.code, "english": str(text), "values": values}


def joined(stored: Any) -> Any:
    """What `parts` took apart."""
    match stored:
        case {"said": str(code), "english": str(english), "values": dict(values)}:
            return Sentence.filled(code, english, {name: joined(value) for name, value in values.items()})
    return stored


def packed(text: str) -> str:
    """`text` for a column that holds text: a Sentence keeps its code there; what was typed stays as it is."""
    if isinstance(unpacked(text), Sentence) and not isinstance(text, Sentence):
        text = Sentence("as-typed", "%(text)s", text=text)
    return json.dumps(parts(text), ensure_ascii=False) if isinstance(text, Sentence) else text


def unpacked(text: str) -> str:
    """What `packed` made, as it was; any other text as it is."""
    try:
        found = joined(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text
    return found if isinstance(found, Sentence) else text
