"""What the answer to a gold item must be, and whether one is. Pure: expectations, payloads and texts in, words out."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.db.forms import MAX_RANKED, Question, QuestionsForm, RankingForm, RulesForm
from annotation_api.http.schemas import Body

MOST = 40  # constraints, answers or verdicts
Place = Literal["best", "not_best", "last", "not_last"]


class ExpectedPlace(Body):
    """Where one response must stand. A tie at the top is best, one at the bottom last."""

    response: uuid.UUID
    place: Place


class ExpectedPair(Body):
    """Which of two responses must stand before the other; a tie will not do."""

    better: uuid.UUID
    worse: uuid.UUID


class Expected(Body):
    """Exactly one of: an order or constraints of a ranking, answers to questions, verdicts on rules."""

    order: list[list[uuid.UUID]] | None = Field(
        default=None,
        min_length=2,
        max_length=MAX_RANKED,
        description="Response ids, best group first. Within a group any order is right; across groups a tie is wrong. "
        "What is left out may stand anywhere.",
    )
    constraints: list[ExpectedPlace | ExpectedPair] | None = Field(default=None, min_length=1, max_length=MOST)
    answers: dict[str, StrictBool | StrictInt | StrictStr] | None = Field(
        default=None, min_length=1, max_length=MOST, description="By id of the question; others may be answered freely."
    )
    verdicts: dict[str, Literal["broken", "kept", "unsure"]] | None = Field(
        default=None, min_length=1, max_length=MOST, description="By id of the rule."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(part is not None for part in (self.order, self.constraints, self.answers, self.verdicts)) != 1:
            raise ValueError(
                Sentence("expected-one", "give one of order, constraints, answers and verdicts, and not more")
            )
        return self


Form = RankingForm | QuestionsForm | RulesForm
Texts = Mapping[uuid.UUID, str]
At = Annotated[str, "a pointer into the body"]


def problems_of(expected: Expected, form: Form, texts: Texts, rules: Sequence[str] | None) -> list[Problem]:
    """Why this cannot be the answer to the task; empty if it can."""
    if isinstance(form, QuestionsForm):
        return _of_questions(expected, form)
    if isinstance(form, RulesForm):
        return _of_rules(expected, [rule.id for rule in form.probed(rules)])
    if expected.order is None and expected.constraints is None:
        return [
            Problem(
                pointer="/expected",
                message=Sentence("gold-wants-ranking", "This task asks for a ranking: give an order or constraints."),
            )
        ]
    named = list(_named(expected))
    problems = [
        Problem(
            pointer=at,
            message=Sentence("response-of-other-task", "This response does not belong to the task."),
            value=str(key),
        )
        for at, key in named
        if key not in texts
    ]
    return problems or _impossible(expected, texts)


def _named(expected: Expected) -> Iterator[tuple[At, uuid.UUID]]:
    """Every response that is named, with its place in the body."""
    for i, group in enumerate(expected.order or ()):
        yield from ((f"/expected/order/{i}/{j}", key) for j, key in enumerate(group))
    for i, one in enumerate(expected.constraints or ()):
        for name, key in one.model_dump(exclude={"place"}).items():
            yield f"/expected/constraints/{i}/{name}", key


def _impossible(expected: Expected, texts: Texts) -> list[Problem]:
    """What no order of the responses satisfies: identical ones are tied, nothing stands before itself."""
    flat = [key for group in expected.order or () for key in group]
    if len(set(flat)) < len(flat):
        return [
            Problem(
                pointer="/expected/order", message=Sentence("response-twice", "A response stands in the order twice.")
            )
        ]
    apart = _pairs(expected.order) if expected.order else _before(expected)
    for better, worse in apart:
        if texts[better] == texts[worse]:
            return [
                Problem(
                    pointer="/expected",
                    message=Sentence("identical-tied", "Identical responses are always tied: none can be better."),
                )
            ]
    if expected.constraints and not _is_possible(expected, texts):
        message = Sentence("no-such-order", "No order satisfies all of these without a tie.")
        return [Problem(pointer="/expected/constraints", message=message)]
    return []


def _is_possible(expected: Expected, texts: Texts) -> bool:
    """Whether an order of the different texts keeps all constraints: the pairs make no circle, and of those that none
    must stand before, and after, there are two that may be its ends. Whatever else is left fits between them."""
    pairs = {(texts[better], texts[worse]) for better, worse in _before(expected)}
    places = {(texts[one.response], one.place) for one in expected.constraints or () if isinstance(one, ExpectedPlace)}
    different = set(texts.values())
    first = _ends(different - {worse for _, worse in pairs}, "best", places)
    last = _ends(different - {better for better, _ in pairs}, "last", places)
    return _has_no_circle(pairs) and any(a != b or len(different) == 1 for a in first for b in last)


def _ends(free: set[str], end: Place, places: Collection[tuple[str, Place]]) -> set[str]:
    """Those of the texts that may stand at an end of the order."""
    there = {text for text, place in places if place == end}
    return {text for text in free if there <= {text} and (text, f"not_{end}") not in places}


def _has_no_circle(pairs: Iterable[tuple[str, str]]) -> bool:
    graph = TopologicalSorter[str]()
    for better, worse in pairs:
        graph.add(worse, better)
    try:
        graph.prepare()
    except CycleError:
        return False
    return True


def _of_questions(expected: Expected, form: QuestionsForm) -> list[Problem]:
    if expected.answers is None:
        return [
            Problem(
                pointer="/expected", message=Sentence("gold-wants-answers", "This task asks questions: give answers.")
            )
        ]
    asked = {question.id: question for question in form.questions}
    problems = []
    for key, answer in expected.answers.items():
        if key not in asked:
            message = Sentence(
                "form-asks-not", "The form does not ask this. It asks: %(asked)s.", asked=", ".join(asked)
            )
            problems.append(Problem(pointer=f"/expected/answers/{key}", message=message))
        elif not asked[key].takes(answer):
            message = Sentence("takes", "This takes %(expects)s.", expects=asked[key].expects)
            problems.append(Problem(pointer=f"/expected/answers/{key}", message=message, value=answer))
        elif asked[key].kind == "text":
            message = Sentence(
                "words-differ", "Nobody finds the same words twice: expect answers to the other questions."
            )
            problems.append(Problem(pointer=f"/expected/answers/{key}", message=message))
    return problems or _never_together(expected.answers, asked)


def _never_together(answers: Mapping[str, Any], asked: Mapping[str, Question]) -> list[Problem]:
    """Answers to questions that nobody who gives the other answers is asked."""
    left: dict[str, list[Any]] = {key: [answer] for key, answer in answers.items()}  # what each may be answered
    for key in answers:
        question = asked[key]
        while when := question.when:
            able = [(type(one), one) for one in when.answers]
            left[when.question] = [one for one in left.get(when.question, when.answers) if (type(one), one) in able]
            if not left[when.question]:
                message = Sentence(
                    "asked-otherwise",
                    "Who gives the other answers is not asked this: it depends on %(question)s.",
                    question=when.question,
                )
                return [Problem(pointer=f"/expected/answers/{key}", message=message)]
            question = asked[when.question]
    return []


def _of_rules(expected: Expected, probed: Sequence[str]) -> list[Problem]:
    if expected.verdicts is None:
        return [
            Problem(
                pointer="/expected",
                message=Sentence("gold-wants-verdicts", "This task asks about rules: give verdicts."),
            )
        ]
    message = Sentence("rule-not-asked-of", "This rule is not asked here. Asked: %(probed)s.", probed=", ".join(probed))
    strays = [key for key in expected.verdicts if key not in probed]
    return [Problem(pointer=f"/expected/verdicts/{key}", message=message) for key in strays]


# ---------------------------------------------------------------- the check


def is_met(expected: Expected, payload: Mapping[str, Any]) -> bool:
    """Whether the payload of a submission, as stored, is what was expected."""
    if expected.answers is not None:
        given = payload["answers"]
        return all(type(given.get(k)) is type(v) and given[k] == v for k, v in expected.answers.items())
    if expected.verdicts is not None:
        return all(payload["verdicts"].get(key) == verdict for key, verdict in expected.verdicts.items())
    return _keeps(expected, _ranks(payload["groups"]))


def _ranks(groups: Sequence[Sequence[str]]) -> dict[uuid.UUID, int]:
    return {uuid.UUID(key): place for place, group in enumerate(groups) for key in group}


def _keeps(expected: Expected, rank: Mapping[uuid.UUID, int]) -> bool:
    if expected.order is not None:
        return all(rank[better] < rank[worse] for better, worse in _pairs(expected.order))
    return all(_holds(one, rank) for one in expected.constraints or ())


def _pairs(order: Sequence[Sequence[uuid.UUID]]) -> Iterator[tuple[uuid.UUID, uuid.UUID]]:
    """(better, worse) for any two responses of different groups."""
    for above, below in itertools.combinations(order, 2):
        yield from itertools.product(above, below)


def _before(expected: Expected) -> list[tuple[uuid.UUID, uuid.UUID]]:
    return [(one.better, one.worse) for one in expected.constraints or () if isinstance(one, ExpectedPair)]


def _holds(one: ExpectedPlace | ExpectedPair, rank: Mapping[uuid.UUID, int]) -> bool:
    if isinstance(one, ExpectedPair):
        return rank[one.better] < rank[one.worse]
    first, last, place = min(rank.values()), max(rank.values()), rank[one.response]
    return {"best": place == first, "not_best": place != first, "last": place == last, "not_last": place != last}[
        one.place
    ]
