"""Answers on a pair name what their person saw first and second, and people see a pair in different orders: turned to
one order, they can be compared with one another, with decisions and with gold items, which are in that of sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SIDES = {"first": "second", "second": "first"}


def are_turned(shown: Sequence[Any], order: Sequence[Any]) -> bool:
    """Whether two responses stand the other way round in `shown` than in `order`; of more, no answer names a side."""
    return len(order) == 2 and str(shown[0]) == str(order[1])


def turned(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload of who says the same and saw the pair the other way round."""
    answers = payload.get("answers")
    if not answers:
        return payload
    return {**payload, "answers": {key: other_side(answer) for key, answer in answers.items()}}


def in_order(payload: Mapping[str, Any], shown: Sequence[Any], order: Sequence[Any]) -> Mapping[str, Any]:
    """The payload of who saw the responses as `shown`, as if they had stood in `order`."""
    return turned(payload) if are_turned(shown, order) else payload


def other_side(answer: Any) -> Any:
    """`first` for `second` and the other way round; any other answer is the same from both sides."""
    return SIDES.get(answer, answer) if isinstance(answer, str) else answer
