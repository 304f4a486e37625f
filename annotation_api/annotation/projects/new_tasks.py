"""What a new task must be: responses that its forms can ask about, of models that exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, canonical_json
from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.annotation.tasks.schemas import NewTask
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm
from annotation_api.db.tables import FeedbackKind, ModelVersion
from annotation_api.http.errors import from_validation, invalid

AnyForm = RankingForm | QuestionsForm | RulesForm


def prompt_of(number: int, task: NewTask) -> Prompt:
    try:
        return Prompt.model_validate_json(canonical_json(task.prompt))
    except ValidationError as error:
        raise from_validation(error, Prompt, under=f"/{number}/prompt") from None


def check_forms(tasks: Sequence[NewTask], forms: Mapping[FeedbackKind, AnyForm]) -> None:
    """The project asks in this way, and the form fits the responses and rules of each task."""
    problems = []
    for number, task in enumerate(tasks):
        form = forms.get(task.kind)
        if form is None:
            known = ", ".join(kind.value for kind in forms)
            message = Sentence(
                "form-not-asked", "This project has no form of this kind; it asks for %(asked)s.", asked=known
            )
            problems.append(Problem(pointer=f"/{number}/kind", message=message, value=task.kind.value))
        else:
            problems += _misfits(number, task, form)
    if problems:
        raise invalid(problems)


def _misfits(number: int, task: NewTask, form: AnyForm) -> list[Problem]:
    texts = [response.text for response in task.responses]
    problems = [Problem(pointer=f"/{number}/responses", message=said) for said in _wrong_responses(texts, form)]
    known = [rule.id for rule in form.rules] if isinstance(form, RulesForm) else []
    problems += [
        Problem(
            pointer=f"/{number}/rules/{i}",
            message=Sentence("no-such-rule", "No such rule. Known: %(known)s.", known=", ".join(known) or "none"),
            value=rule,
        )
        for i, rule in enumerate(task.rules or ())
        if rule not in known
    ]
    return problems


def _wrong_responses(texts: Sequence[str], form: AnyForm) -> Iterator[Sentence]:
    """What is wrong with their number, or with two that are one text."""
    if isinstance(form, RankingForm):
        if len(texts) < 2:
            yield Sentence("two-to-rank", "Give at least 2 responses to rank, got %(texts)s.", texts=len(texts))
        elif len(set(texts)) < 2:
            yield Sentence("all-the-same", "All responses are the same text: there is nothing to rank.")
        return
    if isinstance(form, QuestionsForm) and len(texts) == 2 and texts[0] == texts[1]:
        yield Sentence("both-the-same", "Both responses are the same text: nothing to compare.")
    wanted = 2 if isinstance(form, QuestionsForm) and form.about == "pair" else 1
    if len(texts) != wanted:
        about = "This form is about %(wanted)s response(s), got %(texts)s."
        yield Sentence("form-about", about, wanted=wanted, texts=len(texts))


def check_responses(session: Session, tasks: Sequence[NewTask]) -> None:
    """No model that does not exist."""
    named = {response.model for task in tasks for response in task.responses if response.model}
    known = set(session.scalars(select(ModelVersion.id).where(ModelVersion.id.in_(named)))) if named else set()
    problems = [
        Problem(
            pointer=f"/{n}/responses/{i}/model",
            message=Sentence("no-such-model-version", "There is no such model version."),
            value=str(r.model),
        )
        for n, task in enumerate(tasks)
        for i, r in enumerate(task.responses)
        if r.model in named - known
    ]
    if problems:
        raise invalid(problems)
