"""Which turns of a chat are learnt: OpenAI's `weight`, ms-swift's `loss`, Axolotl's `train`.

With 0 or false one never is, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alignment.shared.sentence import Sentence
from annotation_api.datasets.values import CALL_ROLES, ROLES, Refused, as_number, is_empty_system, show

FLAGS = ("loss", "train", "training")  # where they are true or false; a number there is none of these


def learnt_until(turns: list[Any], name: str) -> int:
    """Where the chat is cut: behind its last turn that is to be learnt; OpenAI's `weight` can be 0."""
    learnt = [is_learnt(turn, f"{name}[{i}]") for i, turn in enumerate(turns)]
    if not learnt or learnt[-1]:
        return len(turns) if learnt else 1  # an empty chat is refused where it is read
    answers = [i for i, turn in enumerate(turns) if learnt[i] and _is_answer(turn)]
    return answers[-1] + 1 if answers else 0


def kept_out(items: list[Any], name: str, turns: int) -> Iterator[int]:
    """The places of answers with weight 0 among the turns that were read of the items."""
    read = [(turn, f"{name}[{i}]") for i, turn in enumerate(items) if not is_empty_system(turn)]
    moved = turns - len(read)  # a system message that stood beside the chat is the first turn
    for place, (turn, field) in enumerate(read, moved):
        if not is_learnt(turn, field) and _is_answer(turn):
            yield place


def _is_answer(turn: object) -> bool:
    """Whether the turn is the assistant's, as far as its role says so."""
    said = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
    role = said.strip().lower() if isinstance(said, str) else ""
    return ROLES.get(role) == "assistant" or role in CALL_ROLES


def is_learnt(turn: object, field: str) -> bool:
    """Whether what stands beside a turn lets it be learnt."""
    if not isinstance(turn, dict):
        return True
    weight = turn.get("weight")
    if weight is not None and as_number(weight, f"{field}.weight") not in (0, 1):
        raise Refused(
            f"{field}.weight", Sentence("zero-or-one", "must be 0 or 1, it is %(weight)s", weight=show(weight))
        )
    flags = [turn[name] for name in FLAGS if isinstance(dict.get(turn, name), bool)]
    return all(flags) and (weight is None or bool(float(weight)))
