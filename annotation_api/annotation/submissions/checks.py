"""Whether an answer fits what was asked. Pure: form, payload, ids and texts in, problems out."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem, shown
from annotation_api.annotation.submissions import ranking
from annotation_api.annotation.submissions.schemas import Payload, QuestionsPayload, RankingPayload, RulesPayload
from annotation_api.db.forms import Need, QuestionsForm, RankingForm, RulesForm

Form = RankingForm | QuestionsForm | RulesForm
Texts = Mapping[uuid.UUID, str]  # of the task's responses, by id


def problems_of(form: Form, payload: Payload, texts: Texts, rules: Sequence[str] | None) -> list[Problem]:
    """What is wrong with `payload` as an answer to `form`; `rules` are those that the task probes."""
    if isinstance(form, RankingForm) and isinstance(payload, RankingPayload):
        own = _ranking(form, payload, texts)
    elif isinstance(form, QuestionsForm) and isinstance(payload, QuestionsPayload):
        own = _questions(form, payload)
    elif isinstance(form, RulesForm) and isinstance(payload, RulesPayload):
        own = _rules(form, payload, rules)
    else:
        return [
            Problem(pointer="/kind", message=Sentence("task-asks-for", "This task asks for %(kind)s.", kind=form.kind))
        ]
    return own + _common(form, payload, texts)


def _ranking(form: RankingForm, payload: RankingPayload, texts: Texts) -> list[Problem]:
    problems = ranking.problems_of(payload.groups, texts) + _apart(form, payload, texts)
    if not payload.all_bad:  # nothing is better than anything by much when all are bad
        problems += _needed(form.strength, payload.strength, "/payload/strength", "how much better, from 1 to 4")
    problems += _needed(form.ratings, payload.ratings or None, "/payload/ratings", "a rating from 1 to 7 for each")
    problems += _by_response("ratings", payload.ratings, texts)
    if payload.ratings and (missing := [str(key) for key in texts if key not in payload.ratings]):
        problems.append(
            Problem(
                pointer="/payload/ratings",
                message=Sentence("not-rated", "Not rated yet: %(missing)s.", missing=", ".join(missing)),
            )
        )
    return problems + _choices("broken", payload.broken, [rule.id for rule in form.rules], texts)


def _apart(form: RankingForm, payload: RankingPayload, texts: Texts) -> list[Problem]:
    """An order of its own for each criterion that is ranked apart; none is owed where all are bad."""
    problems = []
    for criterion, groups in payload.apart.items():
        at = f"/payload/apart/{criterion}"
        if criterion in form.apart:
            problems += ranking.problems_of(groups, texts, at)
        else:
            known = ", ".join(form.apart) or "nothing"
            problems.append(
                Problem(
                    pointer=at,
                    message=Sentence(
                        "criterion-not-apart", "This criterion is not ranked apart here; %(known)s is.", known=known
                    ),
                )
            )
    owed = () if payload.all_bad else form.apart
    return problems + [
        Problem(
            pointer=f"/payload/apart/{criterion}",
            message=Sentence(
                "criterion-not-ranked", "Not ranked yet: an order by %(criterion)s is asked for.", criterion=criterion
            ),
        )
        for criterion in owed
        if criterion not in payload.apart
    ]


def _questions(form: QuestionsForm, payload: QuestionsPayload) -> list[Problem]:
    """Each question that is asked, given the answers, has one it can take; no other has any."""
    problems = []
    asked = {question.id: question for question in form.asked(dict(payload.answers))}
    for key, answer in payload.answers.items():
        at = f"/payload/answers/{key}"
        if key not in asked:
            known = ", ".join(asked)
            problems.append(
                Problem(
                    pointer=at,
                    message=Sentence(
                        "question-not-asked", "This question is not asked here. Asked: %(known)s.", known=known
                    ),
                )
            )
        elif not asked[key].takes(answer):
            problems.append(
                Problem(
                    pointer=at,
                    message=Sentence("takes", "This takes %(expects)s.", expects=asked[key].expects),
                    value=shown(answer),
                )
            )
    problems += [
        Problem(
            pointer=f"/payload/answers/{key}",
            message=Sentence(
                "not-answered-takes", "Not answered yet; this takes %(expects)s.", expects=question.expects
            ),
        )
        for key, question in asked.items()
        if question.required and key not in payload.answers
    ]
    return problems


def _rules(form: RulesForm, payload: RulesPayload, probed: Sequence[str] | None) -> list[Problem]:
    """One verdict for each probed rule."""
    wanted = [rule.id for rule in form.probed(probed)]
    problems = [
        Problem(
            pointer=f"/payload/verdicts/{key}",
            message=Sentence(
                "rule-not-asked", "This rule is not asked here. Asked: %(wanted)s.", wanted=", ".join(wanted)
            ),
        )
        for key in payload.verdicts
        if key not in wanted
    ]
    problems += [
        Problem(
            pointer=f"/payload/verdicts/{key}",
            message=Sentence("no-verdict-yet", "No verdict yet; it is broken, kept or unsure."),
        )
        for key in wanted
        if key not in payload.verdicts
    ]
    return problems


def _common(form: Form, payload: Payload, texts: Texts) -> list[Problem]:
    problems = _choices("flags", payload.flags, [flag.id for flag in form.flags], texts)
    problems += _needed(form.rationale, payload.note, "/payload/note", "a few words on why")
    better = payload.demonstration
    if better is not None:
        at = "/payload/demonstration"
        if not form.demonstration:
            problems.append(
                Problem(pointer=at, message=Sentence("no-better-asked", "This task does not ask for a better answer."))
            )
        if not better.text.strip():
            problems.append(
                Problem(pointer=f"{at}/text", message=Sentence("better-empty", "The better answer is empty."))
            )
        if better.based_on is not None and better.based_on not in texts:
            problems.append(_stranger(f"{at}/based_on", better.based_on))
    return problems


def _needed(need: Need, value: object, at: str, what: str) -> list[Problem]:
    if need == "required" and value is None:
        return [Problem(pointer=at, message=Sentence("project-asks-for", "This project asks for %(what)s.", what=what))]
    if need == "off" and value is not None:
        return [
            Problem(
                pointer=at, message=Sentence("project-asks-not", "This project does not ask for %(what)s.", what=what)
            )
        ]
    return []


def _by_response(field: str, values: Iterable[uuid.UUID], texts: Texts) -> list[Problem]:
    return [_stranger(f"/payload/{field}/{key}", key) for key in values if key not in texts]


def _choices(
    field: str, chosen: Mapping[uuid.UUID, Sequence[str]], allowed: Sequence[str], texts: Texts
) -> list[Problem]:
    """Ids of the form, by response of the task."""
    problems = _by_response(field, chosen, texts)
    for key, ids in chosen.items():
        for place, name in enumerate(ids):
            if name not in allowed:
                known = f"Known here: {', '.join(allowed)}." if allowed else "This project has none."
                problems.append(
                    Problem(
                        pointer=f"/payload/{field}/{key}/{place}",
                        message=Sentence(
                            "name-unknown", "%(name)s is unknown. %(known)s", name=f"{name!r}", known=known
                        ),
                    )
                )
            elif name in ids[:place]:
                problems.append(
                    Problem(
                        pointer=f"/payload/{field}/{key}/{place}",
                        message=Sentence("stands-twice", "%(name)s stands twice.", name=f"{name!r}"),
                    )
                )
    return problems


def _stranger(pointer: str, key: uuid.UUID) -> Problem:
    return Problem(
        pointer=pointer,
        message=Sentence("response-of-other-task", "This response does not belong to the task."),
        value=str(key),
    )
