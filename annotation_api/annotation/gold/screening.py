"""Screening at work: which claim brings a gold item, what an answer to one leads to, who is let in and who is paused.

It runs inside a claim or a judgement, under the lock of the person's row: a person's gold answers are counted one
after another, and a pause meets no claim of the same person half way.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, unpacked
from annotation_api.annotation.gold import pausing, queries
from annotation_api.annotation.gold.expected import Expected, is_met
from annotation_api.db.tables import GoldItem, GoldUse
from annotation_api.http.auth import Someone
from annotation_api.http.errors import ApiError

_dice = random.SystemRandom()  # nobody foresees which task is gold
FAILED = Sentence("entry-failed", "The qualification set was not passed.")


def check_entry(session: Session, person: Someone, project_id: uuid.UUID, share: float) -> uuid.UUID | None:
    """The next item of the qualification set; None once the person is let in. 409 for who has not passed.

    Everybody is asked the whole set, whatever languages they judge: it is the owner's to say who enters.
    """
    if item := queries.find_item(session, person, project_id, GoldUse.ENTRY):
        return item
    found = queries.entry(session, project_id, person.id)
    if found.open:  # in the person's own hands, ahead of the rest
        raise ApiError(
            409,
            "entry-first",
            Sentence("entry-first", "Answer the tasks of the qualification set that you have in hand first."),
        )
    if not _passes(found, share):
        raise paused(FAILED)
    queries.let_in(session, project_id, person.id)
    return None


def _passes(found: Any, share: float) -> bool:
    """Shares are compared: 14 of 25 are 0.56, but 0.56 times 25 is a little more than 14."""
    return not found.items or found.correct / found.items >= share


def draw(
    session: Session, person: Someone, project_id: uuid.UUID, rate: float, languages: Collection[str] | None
) -> uuid.UUID | None:
    """Now and then a gold item that the person never had; in their languages, since another would give it away."""
    if _dice.random() >= rate:
        return None
    return queries.find_item(session, person, project_id, GoldUse.MIXED, languages)


def record(
    session: Session, person: Someone, task_id: uuid.UUID, submission_id: uuid.UUID, payload: Mapping[str, Any]
) -> None:
    """Hold a first answer against what was expected, and draw the consequences."""
    item = session.get_one(GoldItem, task_id)
    correct = is_met(Expected.model_validate(item.expected), payload)
    if not queries.add_answer(session, submission_id, item, person.id, correct=correct) or item.withdrawn_at:
        return
    rules = queries.rules_of(session, item.project_id)
    if item.use is GoldUse.ENTRY and rules.entry is not None:
        _settle_entry(session, person.id, item.project_id, rules.entry)
    elif item.use is GoldUse.MIXED and rules.bar is not None:
        _hold_to_bar(session, person.id, item.project_id, rules.bar)


def _settle_entry(session: Session, person_id: uuid.UUID, project_id: uuid.UUID, share: float) -> None:
    found = queries.entry(session, project_id, person_id)
    if found.open:
        return
    if _passes(found, share):
        queries.let_in(session, project_id, person_id)
    else:
        queries.pause(session, project_id, person_id, None, FAILED)


def _hold_to_bar(session: Session, person_id: uuid.UUID, project_id: uuid.UUID, bar: float) -> None:
    found = queries.counts(session, project_id, person_id)
    if pausing.is_below(bar, found.correct, found.wrong):
        reason = Sentence(
            "below-the-bar",
            "%(right)s of %(all)s gold items were right; the bar is %(bar)s.",
            right=found.correct,
            all=found.correct + found.wrong,
            bar=f"{bar:.0%}",
        )
        queries.pause(session, project_id, person_id, None, reason)


def pauses_of(session: Session, person: Someone, projects: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Of the projects in which the person is paused, what the next claim would say."""
    return {project: paused(reason).detail for project, reason in queries.pauses(session, person, projects).items()}


def paused(reason: str | None) -> ApiError:
    """Not why in figures: which tasks were gold stays unknown."""
    if unpacked(reason or "") == FAILED:
        return ApiError(
            409,
            "paused",
            Sentence("not-let-in", "The qualification set was not passed. The project's owner can let you in."),
        )
    detail = Sentence(
        "work-paused",
        "Your work in this project is paused. What you answered is kept; the project's owner can let you in again.",
    )
    return ApiError(409, "paused", detail)
