"""What the quality desk shows: a task on which people differ, one decided, a gold item, a person who is paused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, packed
from annotation_api.db.tables import (
    Comment,
    FeedbackKind,
    GoldAnswer,
    GoldItem,
    GoldUse,
    PersonStanding,
    QualityRules,
    Review,
    ReviewOutcome,
    Role,
    TaskDecision,
)


def fill(session: Session, make: Any, project: Any, reviewer: Any) -> dict[str, str]:
    """Ids for the addresses of pages, by what they are of."""
    people = [make.person(Role.ANNOTATOR, name=name) for name in ("Mei Zhao", "Nils Sorglos")]
    disputed = make.task(make.prompt(project, "Which is the best?"), ("first", "second", "third"), overlap=2, judged=2)
    answer = make.submission(disputed, [[0], [1, 2]], people[0], active_ms=41_000, payload={"note": "It is true."})
    hasty = make.submission(disputed, [[2], [1], [0]], people[1], active_ms=800)
    decision = _decided(session, make, project, people, reviewer)
    for number in range(12):  # the same place again and again, in no time
        task = make.task(make.prompt(project, f"Quick {number}?"), ("one", "two", "three"))
        make.submission(task, [[0], [1], [2]], people[1], active_ms=700)
    session.add(Review(submission_id=hasty.id, reviewer_id=reviewer.id, outcome=ReviewOutcome.SENT_BACK))
    session.add(Comment(assignment_id=hasty.assignment_id, author_id=reviewer.id, text="Read all three.", asks=False))
    session.add(Comment(assignment_id=hasty.assignment_id, author_id=people[1].id, text="Why not 三?", asks=True))
    gold = _gold(session, make, project, people[1], reviewer)
    words = "%(right)s of %(all)s gold items were right; the bar is %(bar)s."
    why = packed(Sentence("below-the-bar", words, right=0, all=5, bar="70%"))
    session.add(PersonStanding(project_id=project.id, person_id=people[1].id, paused_at=datetime.now(UTC), reason=why))
    session.add(QualityRules(project_id=project.id, gold_rate=0.05, bar=0.7, entry=None, names_shown=False))
    session.flush()
    ids = {"answer": answer.id, "disputed": disputed.id, "decided": decision, "gold": gold}
    return {name: str(key) for name, key in (ids | {"assignment": hasty.assignment_id}).items()}


def _decided(session: Session, make: Any, project: Any, people: list[Any], reviewer: Any) -> Any:
    task = make.task(make.prompt(project, "Who wrote it?"), ("Ada", "Alan"), overlap=2, judged=2)
    for person, order in zip(people, ([[0], [1]], [[1], [0]]), strict=True):
        make.submission(task, order, person)
    payload = {"groups": [[str(key)] for key in make.response_ids(task)], "note": "The letters say so."}
    session.add(
        TaskDecision(
            task_id=task.id, reviewer_id=reviewer.id, kind=FeedbackKind.RANKING, payload=payload, payload_hash="0" * 64
        )
    )
    return task.id


def _gold(session: Session, make: Any, project: Any, person: Any, reviewer: Any) -> Any:
    task = make.task(make.prompt(project, "What is 2 + 2?"), ("4", "Five."), overlap=0, gold=True)
    wrong = make.submission(task, [[1], [0]], person, active_ms=900)
    expected = {"order": [[str(key)] for key in make.response_ids(task)]}
    ids = {"task_id": task.id, "project_id": project.id}
    item = {"use": GoldUse.MIXED, "expected": expected, "why": "Four is right.", "overlap": 2}
    session.add(GoldItem(**ids, **item, made_by=reviewer.id))
    session.flush()
    session.add(GoldAnswer(submission_id=wrong.id, person_id=person.id, correct=False, **ids))
    return task.id


def pages(project: Any, at: dict[str, str]) -> list[tuple[str, str, str, str]]:
    """(name, route, address, who looks) of each page."""
    base = "/projects/{project_id}/review"
    here = f"/projects/{project.id}/review"
    rooms = ("disputed", "annotators", "gold", "hours")
    task, answer, thread = f"{base}/tasks/{{task_id}}", f"{base}/answers/{{answer_id}}", "/threads/{assignment_id}"
    return [
        ("review", base, here, "admin"),
        *((f"review-{room}", f"{base}/{room}", f"{here}/{room}", "admin") for room in rooms),
        ("review-answer", answer, f"{here}/answers/{at['answer']}", "admin"),
        *((f"task-{name}", task, f"{here}/tasks/{at[name]}", "admin") for name in ("disputed", "decided", "gold")),
        ("thread", thread, f"/threads/{at['assignment']}", "admin"),
        ("waiting", "/waiting", "/waiting", "admin"),
        ("waiting-for-nobody", "/waiting", "/waiting", "annotator"),
    ]
