"""What every kind of task may ask besides its own: flags, a note, a better answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate.cards import Card, cards_of
from annotation_api.web.markup.rendering import text_of

Ticked = Mapping[str, frozenset[str]]  # ids of the form, by letter of the card


@dataclass(frozen=True)
class Extras:
    """What stands in these fields; a fresh one has nothing."""

    flags: Ticked = field(default_factory=dict)
    note: str = ""
    better: str = ""
    better_from: str = ""  # the letter of the card that was edited; empty: written from nothing

    @classmethod
    def fresh(cls) -> Self:
        return cls()

    @classmethod
    def from_submission(cls, payload: Mapping[str, Any], shown: AssignmentOut) -> Self:
        better = payload.get("demonstration") or {}
        based = [card.label for card in cards_of(shown) if better.get("based_on") in [str(key) for key in card.ids]]
        return cls(
            flags=ticked_before(payload.get("flags", {}), shown),
            note=payload.get("note", ""),
            better=better.get("text", ""),
            better_from=based[0] if based else "",
        )

    def is_flagged(self, card: Card, flag: str) -> bool:
        return flag in self.flags.get(card.label, ())


def read(form: FormData, shown: AssignmentOut) -> Extras:
    return Extras(
        flags=ticked(form, "flag", shown),
        note=lines_of(form, "note").strip(),
        better=lines_of(form, "better"),
        better_from=text_of(form, "better_from"),
    )


def payload(extras: Extras, shown: AssignmentOut) -> dict[str, Any]:
    """What the fields give. ApiError 422 for a better answer that is a copy, or a copy of nothing."""
    found: dict[str, Any] = {}
    if flags := by_response(extras.flags, shown):
        found["flags"] = flags
    if extras.note:
        found["note"] = extras.note
    if extras.better.strip():
        found["demonstration"] = _better(extras, cards_of(shown))
    return found


def _better(extras: Extras, cards: list[Card]) -> dict[str, Any]:
    for card in cards:
        if card.text.strip() == extras.better.strip():
            detail = Sentence(
                "better-is-a-copy",
                "The better answer is the same as answer %(label)s. Change it, or leave it empty.",
                label=card.label,
            )
            raise ApiError(422, "invalid", detail)
    based = [card for card in cards if card.label == extras.better_from]
    return {"text": extras.better} | ({"based_on": str(based[0].ids[0])} if based else {})


def lines_of(form: FormData, name: str) -> str:
    """A text of several lines: browsers send CRLF for every line end."""
    return text_of(form, name).replace("\r\n", "\n")


def ticked(form: FormData, prefix: str, shown: AssignmentOut) -> Ticked:
    """The boxes `prefix-A`, ... that are ticked."""
    found = {
        card.label: frozenset(str(value) for value in form.getlist(f"{prefix}-{card.label}"))
        for card in cards_of(shown)
    }
    return {label: values for label, values in found.items() if values}


def ticked_before(stored: Mapping[str, list[str]], shown: AssignmentOut) -> Ticked:
    """The same from a submission, which names responses."""
    return {card.label: frozenset(stored[str(card.ids[0])]) for card in cards_of(shown) if str(card.ids[0]) in stored}


def by_response(values: Ticked, shown: AssignmentOut) -> dict[str, list[str]]:
    """Ticked ids for each response; identical ones share what their card says."""
    return {
        str(key): sorted(values[card.label]) for card in cards_of(shown) if card.label in values for key in card.ids
    }
