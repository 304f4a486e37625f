"""What people judged in a project, as the rows of a snapshot: rankings, answers, verdicts, better answers.

The current judgements only (superseded ones are left out), oldest first, then reviewers' decisions where they count.
Nothing that was said of a gold item. Wordings and criteria are those of the form version that the task was judged by,
so a later version of the form changes no frozen line.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.judges.orders import besides
from alignment.shared.records import Answer, Answers, Demonstration, Prompt, Ranking, RuleVerdict
from alignment.shared.sentence import Sentence
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.kinds import Adjudicated
from annotation_api.db.snapshots.frozen_rows import BATCH, FreezeError, Frozen, Stored
from annotation_api.db.snapshots.votes import VoteChoice, decisions_of, votes_of
from annotation_api.db.tables import FeedbackKind, Form


@dataclass(frozen=True)
class ReadSubmission:
    """One submission, or a decision in its place (`submission` is None), with all that it refers to. `texts` are the
    task's responses by id, in sampling order."""

    source: uuid.UUID
    submission: uuid.UUID | None
    task: uuid.UUID
    annotator: str
    payload: Mapping[str, Any]
    prompt: Prompt
    texts: Mapping[str, str]
    shown: tuple[str, ...]  # response ids in the order on the page: A, B, ...
    form: RankingForm | QuestionsForm | RulesForm
    version: int

    @property
    def lineage(self) -> dict[str, str]:
        own = "decision" if self.submission is None else "submission"
        return {own: str(self.source), "task": str(self.task), "form_version": str(self.version)}

    def of_each(self, name: str, ids: Iterable[str]) -> tuple[tuple[str, ...], ...] | None:
        """What the payload says of each response under `name`; None when it says nothing."""
        said = self.payload.get(name)
        return tuple(tuple(said.get(key, ())) for key in ids) if said else None


def rankings(session: Session, project_id: uuid.UUID, choice: VoteChoice) -> Iterator[Frozen]:
    """Raises FreezeError for a judgement that is no order of its task's responses."""
    return _made(session, project_id, _ranking, FeedbackKind.RANKING, choice)


def answers(session: Session, project_id: uuid.UUID, choice: VoteChoice) -> Iterator[Frozen]:
    """One record a submission. Raises FreezeError for an answer to what the form does not ask."""
    return _made(session, project_id, _answers, FeedbackKind.QUESTIONS, choice)


def verdicts(session: Session, project_id: uuid.UUID, choice: VoteChoice) -> Iterator[Frozen]:
    """One record a rule. Raises FreezeError for a verdict on a rule that the form does not have."""
    return _made(session, project_id, _verdicts, FeedbackKind.RULES, choice)


def demonstrations(session: Session, project_id: uuid.UUID, choice: VoteChoice) -> Iterator[Frozen]:
    """The better answers that were written in tasks of any kind."""
    return _made(session, project_id, _demonstrations, None, choice)


def _made(
    session: Session,
    project_id: uuid.UUID,
    make: Callable[[ReadSubmission], Iterable[Stored]],
    kind: FeedbackKind | None,
    choice: VoteChoice,
) -> Iterator[Frozen]:
    """What `make` makes of each judgement of the kind, each with the submission that it came from; of no kind: of each
    that has a better answer."""
    for judgement in _judgements(session, project_id, kind, choice):
        try:
            made = list(make(judgement))
        except (KeyError, ValueError) as error:
            what = {"ranking": "order of the responses", "questions": "answer to the questions"}
            named = what.get(judgement.form.kind, "verdict on the rules")
            raise FreezeError(
                Sentence(
                    "submission-unfit",
                    "submission %(source)s is no %(named)s of task %(task)s: %(error)s",
                    source=judgement.source,
                    named=named,
                    task=judgement.task,
                    error=error,
                )
            ) from error
        yield from (Frozen(record, submission_id=judgement.submission) for record in made)


def _ranking(judged: ReadSubmission) -> Iterator[Ranking]:
    """The order, and one for each other criterion, ranked apart."""
    ratings = judged.payload.get("ratings")
    own = judged.form.criterion if isinstance(judged.form, RankingForm) else None
    whole = Ranking(
        prompt=judged.prompt,
        responses=tuple(judged.texts.values()),
        groups=_places(judged, judged.payload["groups"]),
        strength=judged.payload.get("strength"),
        all_bad=judged.payload.get("all_bad", False),
        ratings=tuple(ratings[response] for response in judged.texts) if ratings else None,
        flags=judged.of_each("flags", judged.texts),
        broken_rules=judged.of_each("broken", judged.texts),
        rationale=judged.payload.get("note"),
        criterion=own or judged.prompt.criterion,
        annotator=judged.annotator,
        lineage=judged.lineage,
    )
    yield whole
    for criterion, groups in besides(whole.criterion, judged.payload.get("apart", {})):
        yield Ranking(
            prompt=whole.prompt,
            responses=whole.responses,
            groups=_places(judged, groups),
            criterion=criterion,
            annotator=whole.annotator,
            lineage=whole.lineage | {"order": criterion},
        )


def _places(judged: ReadSubmission, groups: Iterable[Iterable[str]]) -> tuple[tuple[int, ...], ...]:
    """Groups of ids as groups of places among the responses."""
    place = {response: index for index, response in enumerate(judged.texts)}
    return tuple(tuple(sorted(place[response] for response in group)) for group in groups)


def _answers(judged: ReadSubmission) -> Iterator[Answers]:
    """In the form's order. A pair stands in the order in which it was shown: the questions call it A and B."""
    questions = judged.form.questions if isinstance(judged.form, QuestionsForm) else ()
    asked = {question.id: question for question in questions}
    given = judged.payload["answers"]
    if stray := sorted(given.keys() - asked.keys()):
        raise ValueError(Sentence("form-does-not-ask", "the form does not ask %(stray)s", stray=stray[0]))
    yield Answers(
        prompt=judged.prompt,
        responses=tuple(judged.texts[response] for response in judged.shown),
        answers=tuple(
            Answer(question=key, text=question.text, value=given[key], criterion=question.criterion)
            for key, question in asked.items()
            if key in given
        ),
        flags=judged.of_each("flags", judged.shown),
        rationale=judged.payload.get("note"),
        annotator=judged.annotator,
        lineage=judged.lineage,
    )


def _verdicts(judged: ReadSubmission) -> Iterator[RuleVerdict]:
    """In the form's order, one for each rule that was probed."""
    rules = {rule.id: rule for rule in (judged.form.rules if isinstance(judged.form, RulesForm) else ())}
    given = judged.payload["verdicts"]
    if stray := sorted(given.keys() - rules.keys()):
        raise ValueError(Sentence("form-has-no-rule", "the form has no rule %(stray)s", stray=stray[0]))
    (response, text), *more = judged.texts.items()
    if more:
        raise ValueError(
            Sentence(
                "rules-on-one", "rules are probed on one response, the task has %(texts)s", texts=len(judged.texts)
            )
        )
    for key, rule in rules.items():
        if key in given:
            yield RuleVerdict(
                prompt=judged.prompt,
                response=text,
                rule=key,
                text=rule.text,
                verdict=given[key],
                criterion=rule.criterion,
                flags=tuple(judged.payload.get("flags", {}).get(response, ())) or None,
                rationale=judged.payload.get("note"),
                annotator=judged.annotator,
                lineage=judged.lineage,
            )


def _demonstrations(judged: ReadSubmission) -> Iterator[Demonstration]:
    better = judged.payload["demonstration"]
    based_on = {"based_on": better["based_on"]} if better.get("based_on") else {}
    yield Demonstration(prompt=judged.prompt, response=better["text"], lineage=judged.lineage | based_on)


# ---------------------------------------------------------------- reading


def _judgements(
    session: Session, project_id: uuid.UUID, kind: FeedbackKind | None, choice: VoteChoice
) -> Iterator[ReadSubmission]:
    forms = {
        form.id: (read_form(form.spec), form.version)
        for form in session.scalars(select(Form).where(Form.project_id == project_id))
    }
    statements = [votes_of(project_id, kind, choice)]
    if choice.adjudicated is not Adjudicated.IGNORE:
        statements.append(decisions_of(project_id, kind))
    for statement in statements:
        for row in session.execute(statement.execution_options(yield_per=BATCH)):
            yield _read(row, forms)


def _read(row: Any, forms: Mapping[uuid.UUID, tuple[Any, int]]) -> ReadSubmission:
    source, voted, task, annotator, payload, prompt, responses, shown, form = row
    texts = dict(json.loads(responses))
    order = tuple(texts) if shown is None else tuple(shown)  # a decision is seen in the order of sampling
    submission = source if voted else None
    record = Prompt.from_line(prompt)
    return ReadSubmission(source, submission, task, annotator, payload, record, texts, order, *forms[form])
