"""A rules task as a form: one verdict a rule, on the one response. The frame adds flags, note and better answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from annotation_api.annotation.submissions.schemas import Verdict
from annotation_api.annotation.tasks.schemas import AssignmentOut
from annotation_api.db.forms import Rule, RulesForm
from annotation_api.http.errors import ApiError
from annotation_api.web.markup.rendering import text_of

TEMPLATE = "_rules.html"
VERDICTS = (Verdict.BROKEN, Verdict.KEPT, Verdict.UNSURE)


@dataclass(frozen=True)
class EnteredVerdicts:
    """The verdicts that stand in the form, by id of the rule; a fresh one has none."""

    verdicts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fresh(cls) -> Self:
        return cls()

    @classmethod
    def from_submission(cls, payload: Mapping[str, Any], shown: AssignmentOut) -> Self:
        return cls(dict(payload.get("verdicts", {})))

    def rows(self, shown: AssignmentOut) -> list[tuple[Rule, str]]:
        """The task's rules, each with its verdict or an empty text, for the template."""
        return [(rule, self.verdicts.get(rule.id, "")) for rule in rules_of(shown)]


def read(form: FormData, shown: AssignmentOut) -> EnteredVerdicts:
    """The verdicts of a posted form."""
    given = {rule.id: text_of(form, field_of(rule)) for rule in rules_of(shown)}
    return EnteredVerdicts({key: text for key, text in given.items() if text})


def payload(entered: EnteredVerdicts, shown: AssignmentOut) -> dict[str, Any]:
    """One verdict for each rule of the task. ApiError 422 names the rules without one."""
    known = {verdict.value for verdict in VERDICTS}
    missing = [rule for rule in rules_of(shown) if entered.verdicts.get(rule.id) not in known]
    if missing:
        named = ", ".join(f"“{rule.text}”" for rule in missing)
        raise ApiError(
            422, "invalid", Sentence("no-verdict", "No verdict yet (broken, kept or unsure): %(named)s.", named=named)
        )
    return {"verdicts": {rule.id: entered.verdicts[rule.id] for rule in rules_of(shown)}}


def rules_of(shown: AssignmentOut) -> list[Rule]:
    """The rules that the task asks about; a probe asks about one."""
    assert isinstance(shown.form, RulesForm)
    return shown.form.probed(shown.rules)


def field_of(rule: Rule) -> str:
    """The name of the rule's field."""
    return f"rule-{rule.id}"
