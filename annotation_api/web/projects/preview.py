"""What annotators will see: a form while it is being made, with texts of our own, and a task of the queue."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Request, Response

from annotation_api.annotation.tasks.contents import Content
from annotation_api.annotation.tasks.schemas import AssignmentOut, ShownResponse
from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm
from annotation_api.db.tables import FeedbackKind, Person, Project, Role
from annotation_api.web.annotate.work import TaskPage
from annotation_api.web.markup import language
from annotation_api.web.markup.language import speaking
from annotation_api.web.markup.language import translate as _
from annotation_api.web.markup.rendering import render

AnyForm = RankingForm | QuestionsForm | RulesForm
NOBODY = uuid.UUID(int=0)


def show_forms(request: Request, me: Person, forms: Sequence[AnyForm], name: str) -> Response:
    """Each form with texts that stand for a prompt and its responses."""
    with speaking(language.language_of(request, me)):
        shown = [_sample(form) for form in forms]
    return render(
        request,
        "preview.html",
        me,
        name=name,
        back=None,
        answers=None,
        erasable=None,
        tasks=[TaskPage.begin(each).shown_with(each) for each in shown],
    )


def show_task(request: Request, me: Person, content: Content, project: Project) -> Response:
    """A task as it is shown, in the order of sampling, and the ways on: to what was said of it, and to erase it."""
    shown = AssignmentOut(
        assignment=NOBODY,
        task=content.task_id,
        project=content.project_id,
        kind=content.kind,
        form=content.form,
        rules=content.rules,
        prompt=content.prompt,
        responses=[ShownResponse(id=key, text=text) for key, text in content.texts.items()],
        lease_until=datetime.now(UTC),
        draft=None,
    )
    erasable = {"scope": "record", "task": content.task_id} if me.role is Role.ADMIN else None
    if erasable is None and me.role is Role.ENGINEER and project.created_by == me.id:
        erasable = {"scope": "record", "task": content.task_id, "project": project.id}
    return render(
        request,
        "preview.html",
        me,
        name=project.name,
        back=f"/projects/{project.id}/tasks",
        answers=f"/projects/{project.id}/review/tasks/{content.task_id}",
        erasable=erasable,
        tasks=[TaskPage.begin(shown).shown_with(shown)],
    )


def _sample(form: AnyForm) -> AssignmentOut:
    texts = (_("An answer to judge."), _("Another answer. It is a little longer."), _("A third answer."))
    count = 3 if isinstance(form, RankingForm) else 2 if isinstance(form, QuestionsForm) and form.about == "pair" else 1
    asked = _("Here stands what a person asked.")
    return AssignmentOut(
        assignment=NOBODY,
        task=NOBODY,
        project=NOBODY,
        kind=FeedbackKind(form.kind),
        form=form,
        rules=[form.rules[0].id] if isinstance(form, RulesForm) and form.probe else None,
        prompt={"messages": [{"role": "user", "content": asked}]},
        responses=[ShownResponse(id=uuid.UUID(int=n + 1), text=text) for n, text in enumerate(texts[:count])],
        lease_until=datetime.now(UTC),
        draft=None,
    )
