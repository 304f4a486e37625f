"""Gold items made and withdrawn, a project's rules of quality, people paused and let in again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.intervals import interval95
from alignment.shared.sentence import Sentence, unpacked
from alignment.shared.validation import Problem
from annotation_api.annotation.gold import queries
from annotation_api.annotation.gold.expected import Expected, problems_of
from annotation_api.annotation.gold.schemas import GoldOut, NewGold, QualityRulesPatch, ScreenedOut
from annotation_api.annotation.tasks.contents import Content, content_of, contents_of
from annotation_api.annotation.tasks.queries import is_erased, lock_task, refuse_erased
from annotation_api.db.locks import lock_person
from annotation_api.db.tables import GoldItem, Person, PersonStanding, QualityRules, Role, Task
from annotation_api.db.tallies.fold import counted_anew
from annotation_api.http.errors import ApiError, invalid, not_found


def find_task(session: Session, project_id: uuid.UUID, task_id: uuid.UUID) -> Task:
    """A task of the project; 404 for any other."""
    task = queries.task_in(session, project_id, task_id)
    if task is None:
        raise not_found("task of this project", task_id)
    return task


def make_gold(session: Session, me: Person, project_id: uuid.UUID, task_id: uuid.UUID, new: NewGold) -> GoldItem:
    """Say what the answer to a task is; asked again, say it anew. It leaves the queue, and training never sees it.

    422 for what cannot be its answer, 409 to change what people answered already and for a task that is erased.
    """
    task = lock_task(session, find_task(session, project_id, task_id).id)
    refuse_erased(session, task)
    content = content_of(session, task.id)
    if problems := problems_of(new.expected, content.form, content.texts, content.rules):
        raise invalid(problems)
    expected = new.expected.model_dump(mode="json", exclude_none=True)
    item = session.get(GoldItem, task.id)
    if item is None:
        item = GoldItem(task_id=task.id, project_id=project_id, overlap=task.overlap, made_by=me.id)
        item.created_at = func.clock_timestamp()
        with counted_anew(session, project_id, task.prompt_id):  # what was said of it before counts no more
            task.gold, task.overlap = True, 0
        session.add(item)
    elif (item.use, item.expected, item.why, item.withdrawn_at) == (new.use, expected, new.why, None):
        return item  # sent again: people may have answered it meanwhile
    elif queries.results(session, [task.id]):
        detail = Sentence(
            "gold-answered", "People answered this gold item already. Withdraw it and make another task gold instead."
        )
        raise ApiError(409, "gold-answered", detail)
    else:
        item.withdrawn_at = None
    item.use, item.expected, item.why = new.use, expected, new.why
    session.flush()
    session.refresh(item)
    return item


def withdraw(session: Session, project_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Ask it no more, and count its answers no more. What nobody answered as gold is an ordinary task again,
    unless it is erased."""
    task = lock_task(session, find_task(session, project_id, task_id).id)
    item = session.get(GoldItem, task.id)
    if item is None:
        raise not_found("gold item", task_id)
    if queries.results(session, [task.id]) or is_erased(session, task):
        item.withdrawn_at = item.withdrawn_at or func.now()
    else:
        with counted_anew(session, project_id, task.prompt_id):
            task.gold, task.overlap = False, item.overlap
        session.delete(item)
    session.flush()


def show_items(session: Session, items: Sequence[GoldItem]) -> list[GoldOut]:
    asked = [item.task_id for item in items]
    results, contents = queries.results(session, asked), contents_of(session, asked)
    makers = queries.pseudonyms(session, {item.made_by for item in items})
    return [
        _shown(item, contents[item.task_id], makers[item.made_by], *results.get(item.task_id, (0, 0))) for item in items
    ]


def _shown(item: GoldItem, content: Content, maker: str, answers: int, correct: int) -> GoldOut:
    return GoldOut(
        task=item.task_id,
        kind=content.kind,
        prompt=content.prompt,
        use=item.use,
        expected=Expected.model_validate(item.expected),
        why=item.why,
        made_by=maker,
        created_at=item.created_at,
        withdrawn_at=item.withdrawn_at,
        answers=answers,
        correct=correct,
    )


# ---------------------------------------------------------------- rules


def change_rules(session: Session, me: Person, project_id: uuid.UUID, patch: QualityRulesPatch) -> QualityRules:
    """Set what the patch names. 403 for names by anybody but an admin, 422 for a set that has no items."""
    rules = queries.lock_rules(session, project_id)
    changes = {key: getattr(patch, key) for key in patch.model_fields_set}
    if changes.get("names_shown", rules.names_shown) != rules.names_shown and me.role is not Role.ADMIN:
        raise ApiError(
            403, "forbidden", Sentence("admin-lifts", "Only an admin lifts the pseudonyms, or puts them back.")
        )
    if changes.get("entry") is not None and not queries.entry(session, project_id, uuid.UUID(int=0)).items:
        message = Sentence("entry-empty", "The qualification set is empty: make gold items with the use `entry` first.")
        raise invalid([Problem(pointer="/entry", message=message, value=changes["entry"])])
    for column, value in changes.items():
        setattr(rules, column, value)
    session.flush()
    return rules


# ---------------------------------------------------------------- people


def shows_names(session: Session, viewer: Person, project_id: uuid.UUID) -> bool:
    """Names are for admins, and for reviewers where an admin lifted the pseudonyms."""
    if viewer.role is Role.ADMIN:
        return True
    return viewer.role is Role.REVIEWER and queries.rules_of(session, project_id).names_shown


def screened(session: Session, viewer: Person, project_id: uuid.UUID) -> list[ScreenedOut]:
    """Everybody with gold answers, an entry or a pause in the project."""
    tells = shows_names(session, viewer, project_id)
    return [
        _person(person, standing, answers, correct, tells=tells)
        for person, standing, answers, correct in queries.standings(session, project_id)
    ]


def _person(person: Person, standing: PersonStanding | None, answers: int, correct: int, *, tells: bool) -> ScreenedOut:
    return ScreenedOut(
        id=person.id,
        annotator=person.pseudonym,
        name=person.name if tells else None,
        gold=answers,
        correct=correct,
        accuracy=correct / answers if answers else None,
        accuracy_ci95=interval95([1.0] * correct + [0.0] * (answers - correct)) if answers else None,
        entered_at=standing.entered_at if standing else None,
        paused_at=standing.paused_at if standing else None,
        paused_by_rule=standing is not None and standing.paused_at is not None and standing.paused_by is None,
        reason=unpacked(standing.reason) if standing and standing.reason else None,
    )


def pause(session: Session, me: Person, project_id: uuid.UUID, person_id: uuid.UUID, reason: str) -> int:
    """Give the person no more tasks here; what they have in hand goes back to the queue. Returns how much."""
    _lock(session, person_id)
    return queries.pause(session, project_id, person_id, me.id, reason)


def resume(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> None:
    """Let the person in again, past the qualification set, too. Gold answers so far count no more against the bar."""
    _lock(session, person_id)
    standing = session.get(PersonStanding, (project_id, person_id), populate_existing=True)
    if standing is None or standing.paused_at is None:
        raise ApiError(409, "not-paused", Sentence("not-paused-here", "This person is not paused here."))
    standing.paused_at = standing.paused_by = standing.reason = None
    standing.trusted_from, standing.entered_at = func.now(), standing.entered_at or func.now()
    session.flush()


def _lock(session: Session, person_id: uuid.UUID) -> None:
    if session.get(Person, person_id) is None:
        raise not_found("person", person_id)
    lock_person(session, person_id)
