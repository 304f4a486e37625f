"""What stands on the page of a task, whatever its kind: from a form, a draft or an earlier answer, to a submission."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.datastructures import FormData

from annotation_api.annotation.submissions.schemas import NewAnswers, NewRanking, NewVerdicts
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.tables import FeedbackKind, Submission
from annotation_api.http.errors import valid
from annotation_api.web.annotate import extras, questions_form, ranking_form, rules_form
from annotation_api.web.annotate.cards import cards_of
from annotation_api.web.annotate.extras import Extras
from annotation_api.web.markup.rendering import text_of

MOST_FIELDS = 1000  # of a draft


@dataclass(frozen=True)
class Kind:
    """How a kind of task becomes a form and back."""

    template: str
    fresh: Callable[[], Any]
    before: Callable[[Mapping[str, Any], AssignmentOut], Any]  # what an earlier answer puts into the form
    read: Callable[[FormData, AssignmentOut], Any]
    payload: Callable[[Any, AssignmentOut], dict[str, Any]]
    submission: type[NewRanking] | type[NewAnswers] | type[NewVerdicts]


def _kind(module: Any, entered: Any, submission: type[NewRanking] | type[NewAnswers] | type[NewVerdicts]) -> Kind:
    return Kind(module.TEMPLATE, entered.fresh, entered.from_submission, module.read, module.payload, submission)


KINDS = {
    FeedbackKind.RANKING: _kind(ranking_form, ranking_form.EnteredRanking, NewRanking),
    FeedbackKind.QUESTIONS: _kind(questions_form, questions_form.EnteredAnswers, NewAnswers),
    FeedbackKind.RULES: _kind(rules_form, rules_form.EnteredVerdicts, NewVerdicts),
}


@dataclass(frozen=True)
class TaskPage:
    """A person's form on a task; `entered` is of the task's kind."""

    entered: Any
    extras: Extras = field(default_factory=Extras.fresh)
    submission: str = field(default_factory=lambda: str(uuid.uuid4()))
    supersedes: str = ""
    active_ms: str = ""
    total_ms: str = ""
    drafted_at: int = 0  # when the page wrote the draft that it shows, milliseconds since 1970; 0: none

    def shown_with(self, shown: AssignmentOut) -> dict[str, Any]:
        """What the template of a task asks for, on its own page and in a preview."""
        return {
            "shown": shown,
            "form": shown.form,
            "cards": cards_of(shown),
            "template": KINDS[shown.kind].template,
            "work": self,
            "entered": self.entered,
            "extras": self.extras,
        }

    @classmethod
    def begin(cls, shown: AssignmentOut) -> Self:
        """A fresh form, or what the person left unfinished."""
        fields, at = _drafted(shown.draft)
        if not fields:
            return cls(KINDS[shown.kind].fresh())
        return cls(KINDS[shown.kind].read(fields, shown), extras.read(fields, shown), drafted_at=at)

    @classmethod
    def correct(cls, last: Submission, shown: AssignmentOut) -> Self:
        """An answer, to be changed."""
        before = KINDS[shown.kind].before(last.payload, shown)
        return cls(before, Extras.from_submission(last.payload, shown), supersedes=str(last.id))

    @classmethod
    def read(cls, form: FormData, shown: AssignmentOut) -> Self:
        return cls(
            KINDS[shown.kind].read(form, shown),
            extras.read(form, shown),
            submission=text_of(form, "submission"),
            supersedes=text_of(form, "supersedes"),
            active_ms=text_of(form, "active_ms"),
            total_ms=text_of(form, "total_ms"),
        )

    def submit(self, shown: AssignmentOut) -> NewRanking | NewAnswers | NewVerdicts:
        """The submission that the form makes. ApiError 422 says what is missing."""
        kind = KINDS[shown.kind]
        body = {
            "kind": shown.kind.value,
            "id": self.submission,
            "assignment": shown.assignment,
            "payload": kind.payload(self.entered, shown) | extras.payload(self.extras, shown),
            "supersedes": self.supersedes or None,
            "active_ms": self.active_ms or None,
            "total_ms": self.total_ms or None,
        }
        return valid(kind.submission, body)


def _drafted(draft: Mapping[str, Any] | None) -> tuple[FormData, int]:
    """The fields of a draft and its time. Nothing checked them when they came: what is no field is left out."""
    fields, at = (draft or {}).get("fields"), (draft or {}).get("at")
    pairs = [
        (pair[0], pair[1])
        for pair in (fields[:MOST_FIELDS] if isinstance(fields, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
    ]
    return FormData(pairs), at if isinstance(at, int) else 0
