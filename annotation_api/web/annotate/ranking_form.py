"""A ranking task as a form: radio ranks by card, and what the project asks besides."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.forms import RankingForm
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate.cards import Card, cards_of
from annotation_api.web.annotate.extras import Ticked, by_response, ticked, ticked_before
from annotation_api.web.markup.rendering import text_of

TEMPLATE = "_ranking.html"


@dataclass(frozen=True)
class EnteredRanking:
    """What stands in the form, as typed; a fresh one has no rank chosen."""

    ranks: Mapping[str, str] = field(default_factory=dict)  # by letter of the card
    all_bad: bool = False
    strength: str = ""
    ratings: Mapping[str, str] = field(default_factory=dict)  # by letter of the card
    broken: Ticked = field(default_factory=dict)
    apart: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # ranks by criterion and letter

    @classmethod
    def fresh(cls) -> Self:
        return cls()

    @classmethod
    def from_submission(cls, payload: Mapping[str, Any], shown: AssignmentOut) -> Self:
        ratings = payload.get("ratings", {})
        first = {card.label: str(card.ids[0]) for card in cards_of(shown)}
        return cls(
            ranks=_ranks(payload["groups"], first),
            apart={criterion: _ranks(groups, first) for criterion, groups in payload.get("apart", {}).items()},
            all_bad=payload.get("all_bad", False),
            strength=str(payload.get("strength", "")),
            ratings={label: str(ratings[key]) for label, key in first.items() if key in ratings},
            broken=ticked_before(payload.get("broken", {}), shown),
        )

    def is_broken(self, card: Card, rule: str) -> bool:
        return rule in self.broken.get(card.label, ())


def _ranks(groups: Sequence[Sequence[str]], first: Mapping[str, str]) -> dict[str, str]:
    """By letter of the card, of which `first` is a response."""
    rank = {key: str(place) for place, group in enumerate(groups, start=1) for key in group}
    return {label: rank[key] for label, key in first.items()}


def read(form: FormData, shown: AssignmentOut) -> EnteredRanking:
    cards = cards_of(shown)
    return EnteredRanking(
        ranks=_given(form, "rank", cards),
        all_bad=text_of(form, "all_bad") == "yes",
        strength=text_of(form, "strength"),
        ratings=_given(form, "rating", cards),
        broken=ticked(form, "broken", shown),
        apart={criterion: _given(form, f"rank-{criterion}", cards) for criterion in ranked_apart(shown)},
    )


def ranked_apart(shown: AssignmentOut) -> tuple[str, ...]:
    return shown.form.apart if isinstance(shown.form, RankingForm) else ()


def payload(entered: EnteredRanking, shown: AssignmentOut) -> dict[str, Any]:
    """The order that the ranks give. ApiError 422 names the cards without a rank or a rating."""
    cards = cards_of(shown)
    found: dict[str, Any] = {"groups": _groups(entered.ranks, cards, entered.all_bad), "all_bad": entered.all_bad}
    if apart := {each: ranks for each, ranks in entered.apart.items() if ranks or not entered.all_bad}:
        found["apart"] = {each: _groups(ranks, cards, entered.all_bad) for each, ranks in apart.items()}
    if entered.strength and not entered.all_bad:  # among bad ones nothing is much better
        found["strength"] = entered.strength
    if entered.ratings:
        found["ratings"] = _ratings(entered, cards)
    if broken := by_response(entered.broken, shown):
        found["broken"] = broken
    return found


def _given(form: FormData, prefix: str, cards: list[Card]) -> dict[str, str]:
    found = {card.label: text_of(form, f"{prefix}-{card.label}") for card in cards}
    return {label: value for label, value in found.items() if value}


def _groups(ranks: Mapping[str, str], cards: list[Card], all_bad: bool) -> list[list[uuid.UUID]]:
    """Equal ranks become one group; gaps between ranks mean nothing.

    When all are bad there need not be an order: what has no rank shares the last place.
    """
    missing = [card for card in cards if card.label not in ranks]
    wrong = [card for card in cards if not _is_from_1_to(len(cards), ranks.get(card.label, "1"))]
    if wrong or (missing and not all_bad):
        labels = ", ".join(card.label for card in cards if card in missing or card in wrong)
        raise ApiError(
            422, "invalid", Sentence("no-rank", "Choose a rank for %(labels)s. Equal ranks are a tie.", labels=labels)
        )
    groups: dict[int, list[uuid.UUID]] = {}
    for card in cards:
        rank = len(cards) + 1 if card in missing else int(ranks[card.label])
        groups.setdefault(rank, []).extend(card.ids)
    return [groups[rank] for rank in sorted(groups)]


def _ratings(entered: EnteredRanking, cards: list[Card]) -> dict[str, int]:
    missing = [card.label for card in cards if not _is_from_1_to(7, entered.ratings.get(card.label, ""))]
    if missing:
        raise ApiError(
            422,
            "invalid",
            Sentence("no-rating", "Rate %(labels)s, too: 1 is the worst, 7 the best.", labels=", ".join(missing)),
        )
    return {str(key): int(entered.ratings[card.label]) for card in cards for key in card.ids}


def _is_from_1_to(highest: int, value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) == 1 and 1 <= int(value) <= highest
