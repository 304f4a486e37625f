"""The signals of everybody who answered in a project, from their newest answers."""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.annotation.gold.service import shows_names
from annotation_api.annotation.signals import queries, readings, together
from annotation_api.annotation.signals.given import GivenAnswer, read_answer
from annotation_api.annotation.signals.readings import EverybodyElse, SignalReading
from annotation_api.annotation.signals.researchers import agrees_with
from annotation_api.annotation.signals.schemas import PersonSignals, ReadingOut
from annotation_api.db.form_rows import read_forms
from annotation_api.db.tables import Person
from annotation_api.db.tallies.sides import sided

COMPARED = 2000  # of everybody's answers are what a person's are held against; of more, so many evenly chosen


def signals(session: Session, viewer: Person, project_id: uuid.UUID) -> list[PersonSignals]:
    """Those with the most raised readings first."""
    given, words = _given(session, project_id), queries.words(session, project_id)
    people = {row.id: row for row in session.scalars(select(Person).where(Person.id.in_(given)))}
    named, tells = {key: row.pseudonym for key, row in people.items()}, shows_names(session, viewer, project_id)
    shown = [
        PersonSignals(
            id=key,
            annotator=named[key],
            name=people[key].name if tells else None,
            answers=len(given[key]),
            readings=[_shown(reading, named) for reading in found],
            researchers=agrees_with(given[key], words),
        )
        for key, found in read_all(given).items()
    ]
    return sorted(shown, key=lambda one: (-sum(reading.raised for reading in one.readings), one.annotator))


def read_all(given: dict[uuid.UUID, list[GivenAnswer]]) -> dict[uuid.UUID, list[SignalReading]]:
    """Every reading of every person."""
    whole = [answer for answers in given.values() for answer in answers]
    shared, beside = together.read_together(whole), whole[:: 1 + len(whole) // COMPARED]
    theirs = {
        person: EverybodyElse.of(list(own)) for person, own in itertools.groupby(beside, lambda each: each.person)
    }
    everybody, nothing = EverybodyElse.of(beside), EverybodyElse.of([])
    return {
        person: readings.read(own, everybody.without(theirs.get(person, nothing))) + shared.get(person, [])
        for person, own in given.items()
    }


def everything(session: Session, project_id: uuid.UUID) -> list[GivenAnswer]:
    """Everybody's newest answers."""
    return [answer for answers in _given(session, project_id).values() for answer in answers]


def _given(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, list[GivenAnswer]]:
    rows = queries.answers(session, project_id)
    sizes = queries.sizes(session, list({row.task for row in rows}))
    asking = {key: sided(form) for key, form in read_forms(session, project_id).items()}
    found: dict[uuid.UUID, list[GivenAnswer]] = defaultdict(list)
    for row in rows:
        form, lengths, prompt = sizes[row.task]
        shown, sides = row.display_order, asking[form]
        read = read_answer(
            row.submission, row.task, row.person, row.payload, shown, lengths, prompt, row.active_ms, sides
        )
        found[row.person].append(read)
    return found


def _shown(reading: SignalReading, named: dict[uuid.UUID, str]) -> ReadingOut:
    return ReadingOut(
        signal=reading.name,
        value=reading.value,
        ci95=reading.ci95,
        answers=reading.answers,
        raised=reading.raised,
        evidence=list(reading.evidence),
        other=named[reading.other] if reading.other else None,
    )
