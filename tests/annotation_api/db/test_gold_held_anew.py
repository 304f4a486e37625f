"""What the migration to 0020 does to answers to gold items on pairs, and to the pauses that a rule took from them."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence, packed
from annotation_api.annotation.gold.screening import FAILED
from annotation_api.db.forms import Option, Question, QuestionsForm
from annotation_api.db.tables import FeedbackKind, GoldAnswer, GoldItem, GoldUse, Person, PersonStanding, Project, Task
from tests.annotation_api.db.test_migrations import move

BETTER = Question(
    id="better", text="Which?", kind="choice", options=(Option(id="first", text="A"), Option(id="second", text="B"))
)
PLACES = tuple(Option(id=name, text=name) for name in ("first", "second", "third"))
PLACE = Question(id="place", text="Which of the sentences?", kind="choice", options=PLACES)
YES = Question(id="true", text="Is it true?", kind="yes_no")
ALSO = {"true": True, "place": "first"}  # neither names a side
ENTRY = packed(FAILED)
BAR = packed(Sentence("below-the-bar", "%(right)s of %(all)s were right.", right=0, all=7))


class Screened:
    """A database at the level before, with projects that ask which of two responses is better."""

    def __init__(self, session: Session, factory: Any) -> None:
        self.session, self.make = session, factory(session)
        self.owner = self.make.person(pseudonym="owner")

    def project(self) -> Project:
        project: Project = self.make.project(
            self.owner, forms=[QuestionsForm(about="pair", questions=(BETTER, PLACE, YES))]
        )
        return project

    def item(self, project: Project, use: GoldUse = GoldUse.MIXED, **fields: Any) -> Task:
        prompt = self.make.prompt(project, f"{self.session.query(Task).count()}?")
        task: Task = self.make.task(prompt, kind=FeedbackKind.QUESTIONS, gold=True)
        expected = {"answers": {"better": "first"} | ALSO}
        of = {"task_id": task.id, "project_id": project.id, "made_by": self.owner.id}
        self.session.add(GoldItem(**of, overlap=1, use=use, expected=expected, why="So.", **fields))
        self.session.flush()
        return task

    def answer(self, task: Task, person: Person, better: str, *, turned: bool = True, held: bool) -> None:
        ids = [str(key) for key in self.make.response_ids(task)]
        shown = self.make.assignment(task, person, display_order=ids[::-1] if turned else ids)
        payload = {"answers": {"better": better} | ALSO}
        row = self.make.submission(task, [], assignment_id=shown.id, kind="questions", payload=payload)
        of = {"project_id": task.project_id, "person_id": person.id, "task_id": task.id}
        self.session.add(GoldAnswer(submission_id=row.id, correct=held, **of))

    def turn(self, person: Person, right: list[Task], wrong: list[Task]) -> None:
        """Answers that are right from now on, and such as are wrong."""
        for task in right:
            self.answer(task, person, "second", held=False)
        for task in wrong:
            self.answer(task, person, "first", held=True)

    def pause(self, project: Project, person: Person, reason: str, **fields: Any) -> None:
        of = {"project_id": project.id, "person_id": person.id}
        self.session.add(PersonStanding(**of, paused_at=text("now()"), reason=reason, **fields))


def paused(session: Session, project_id: uuid.UUID) -> set[str]:
    query = select(Person.pseudonym).join(PersonStanding, PersonStanding.person_id == Person.id)
    query = query.where(PersonStanding.paused_at.is_not(None), PersonStanding.project_id == project_id)
    return set(session.scalars(query))


def test_answers_to_gold_items_on_pairs_are_held_anew(fresh_engine: Engine, factory: Any) -> None:
    """Of three who saw the pair turned round one is right, and was paused by the rule for it; another was let in."""
    move(fresh_engine, "0019")
    said = {  # (the better one, whether the pair was turned, held to be right, who paused, right, whether paused)
        "right": ("second", True, False, "rule", True, False),
        "wrong": ("first", True, True, "", False, False),
        "by hand": ("second", True, False, "owner", True, True),
        "not turned": ("second", False, False, "rule", False, True),
    }
    with Session(fresh_engine) as session:
        screened = Screened(session, factory)
        project = screened.project()
        task = screened.item(project)
        for name, (better, turned, held, by, *_) in said.items():
            person = screened.make.person(pseudonym=name)
            screened.answer(task, person, better, turned=turned, held=held)
            if by:
                screened.pause(project, person, BAR, paused_by=screened.owner.id if by == "owner" else None)
        here = project.id
        session.commit()
    move(fresh_engine, "head")
    with Session(fresh_engine) as session:
        query = select(Person.pseudonym, GoldAnswer.correct).join(GoldAnswer, GoldAnswer.person_id == Person.id)
        found = {name: (right, name in paused(session, here)) for name, right in session.execute(query)}
        assert found == {name: each[4:] for name, each in said.items()}


def test_a_pause_goes_only_where_what_the_rule_counts_is_better(fresh_engine: Engine, factory: Any) -> None:
    """Of the items of the use that paused, that stand, since the person was last let in, in that project."""
    move(fresh_engine, "0019")
    with Session(fresh_engine) as session:
        screened = Screened(session, factory)
        project, elsewhere = screened.project(), screened.project()
        one, two, three, four = [screened.item(project) for _ in range(4)]
        entry = screened.item(project, GoldUse.ENTRY)
        withdrawn = screened.item(project, withdrawn_at=text("now()"))
        answers: dict[str, tuple[str, list[Task], list[Task]]] = {  # (why paused, then right, then wrong)
            "more right": (BAR, [one, two], [three]),
            "as many": (BAR, [one], [two]),
            "more wrong": (BAR, [one], [two, three, four]),
            "of entry": (BAR, [entry], []),
            "of a withdrawn one": (BAR, [withdrawn], []),
            "entry": (ENTRY, [entry], [one, two]),
            "of none of entry": (ENTRY, [one], []),
        }
        for name, (reason, right, wrong) in answers.items():
            person = screened.make.person(pseudonym=name)
            screened.turn(person, right, wrong)
            for where in (project, elsewhere):
                screened.pause(where, person, reason)
        before = screened.make.person(pseudonym="before the last pause")
        screened.turn(before, [one], [])
        screened.pause(project, before, BAR, trusted_from=text("now() + interval '1 second'"))
        here, there = project.id, elsewhere.id
        session.commit()
    move(fresh_engine, "head")
    with Session(fresh_engine) as session:
        assert paused(session, here) == {*answers, "before the last pause"} - {"more right", "entry"}
        assert paused(session, there) == set(answers)
