"""Answers on a pair that name what their person saw first and second, and people see a pair in different orders: turned
to one order, they can be compared with one another, with decisions and with gold items, which are in that of sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from annotation_api.db.forms import SIDES, FormSpec, QuestionsForm

OTHER = dict(zip(SIDES, reversed(SIDES), strict=True))


def sided(form: FormSpec) -> frozenset[str]:
    """The ids of the questions whose answers name a side. Words of one's own and other choices do not, whatever they
    are."""
    questions = form.questions if isinstance(form, QuestionsForm) else ()
    return frozenset(question.id for question in questions if question.names_a_side)


def in_order(
    payload: Mapping[str, Any], shown: Sequence[Any], order: Sequence[Any], about_sides: Collection[str]
) -> Mapping[str, Any]:
    """The payload of who saw the responses as `shown`, as if they had stood in `order`; `about_sides` are the ids
    of the questions whose answers name a side (`sided`)."""
    answers = payload.get("answers")
    if not answers or not _are_turned(shown, order):
        return payload
    turned = {key: OTHER.get(answer, answer) for key, answer in answers.items() if key in about_sides}
    return {**payload, "answers": {**answers, **turned}}


def _are_turned(shown: Sequence[Any], order: Sequence[Any]) -> bool:
    """Whether two responses stand the other way round in `shown` than in `order`; of more, no answer names a side."""
    return len(order) == 2 and str(shown[0]) == str(order[1])
