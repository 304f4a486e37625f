"""The texts on the page of a task, under letters. Where they come from never gets here."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.tables import FeedbackKind


@dataclass(frozen=True)
class Card:
    """One text to judge; identical responses to rank share a card, so that they are tied by themselves."""

    label: str  # A, B, ... in the order shown
    text: str
    ids: tuple[uuid.UUID, ...]

    @property
    def field(self) -> str:
        """The name of its rank in the form."""
        return f"rank-{self.label}"


def cards_of(shown: AssignmentOut) -> list[Card]:
    """The responses in their order; identical ones are one card, but only where they are ranked."""
    if shown.kind != FeedbackKind.RANKING:
        return [Card(_label(place), response.text, (response.id,)) for place, response in enumerate(shown.responses)]
    ids: dict[str, list[uuid.UUID]] = {}
    for response in shown.responses:
        ids.setdefault(response.text, []).append(response.id)
    return [Card(_label(place), text, tuple(keys)) for place, (text, keys) in enumerate(ids.items())]


def _label(place: int) -> str:
    """A to Z, then A2, B2, ..."""
    lap, letter = divmod(place, 26)
    return chr(ord("A") + letter) + (str(lap + 1) if lap else "")
