"""What a form may ask, as data: the shape of `Form.spec`, one class a kind of feedback.

Ranking follows InstructGPT (Ouyang et al. 2022, appendix B.5: order, ties, a 1 to 7 rating and flags a
response) with Llama 2's four steps of strength (Touvron et al. 2023, section 3.2.1); questions follow
WebGPT (Nakano et al. 2021, appendix C.2); rules follow Sparrow (Glaese et al. 2022): one rule is probed
at a time, apart from the preference. A new question set or rule set is a row, neither code nor migration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from alignment.shared.records import Criterion
from alignment.shared.sentence import Sentence
from alignment.shared.validation import NumbersAreNumbers

Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Stable name in exports: a-z, 0-9, _.")]
Words = Annotated[str, Field(min_length=1, max_length=1000)]
Need = Literal["off", "optional", "required"]
SIDES = ("first", "second")  # options that name a response of a pair by where it was shown
MAX_RANKED = 9  # responses that a person ranks at once, a digit key each


class Spec(NumbersAreNumbers):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Option(Spec):
    id: Id
    text: Words


FLAGS = (
    Option(id="pii", text="Personal data"),
    Option(id="unsafe", text="Unsafe"),
    Option(id="off_topic", text="Off topic"),
    Option(id="not_my_language", text="Not my language"),
)


class Rule(Spec):
    id: Id
    text: Words
    explanation: str = Field(default="", max_length=4000)
    criterion: Criterion = "harmless"


class FormBase(Spec):
    """What every kind may ask besides its own."""

    instruction: str = Field(default="", max_length=4000, description="Shown above the task.")
    flags: tuple[Option, ...] = Field(default=FLAGS, max_length=12, description="What a response may be flagged as.")
    rationale: Need = Field(default="optional", description="A few words on why.")
    demonstration: bool = Field(default=True, description="A better answer may be written; it feeds SFT.")

    @model_validator(mode="after")
    def _flags_differ(self) -> Self:
        _refuse_repeats("flags", self.flags)
        return self


class RankingForm(FormBase):
    """Order K responses, best first; equal places are ties."""

    kind: Literal["ranking"] = "ranking"
    criterion: Criterion | None = Field(default=None, description="What the order is about; unset: as the prompt.")
    apart: tuple[Criterion, ...] = Field(
        default=(), max_length=3, description="Ranked apart besides: an order of its own for each of these criteria."
    )
    strength: Need = Field(default="optional", description="How much better the best is than the next, in four steps.")
    ratings: Need = Field(default="off", description="Each response from 1 (worst) to 7 (best).")
    rules: tuple[Rule, ...] = Field(default=(), max_length=40, description="Any response may be said to break these.")

    @model_validator(mode="after")
    def _rules_differ(self) -> Self:
        _refuse_repeats("rules", self.rules)
        return self

    @model_validator(mode="after")
    def _orders_differ(self) -> Self:
        criteria = [self.criterion, *self.apart] if self.criterion else list(self.apart)
        if repeated := [key for key, times in Counter(criteria).items() if times > 1]:
            raise ValueError(
                Sentence(
                    "criterion-twice",
                    "apart: the criterion %(repeated)s has an order already; name each once",
                    repeated=repeated[0],
                )
            )
        return self


class Condition(Spec):
    """Ask only if the answer to an earlier question is one of these."""

    question: Id
    answers: tuple[str | int | bool, ...] = Field(min_length=1)


class Question(Spec):
    id: Id
    text: Words
    kind: Literal["choice", "scale", "yes_no", "text"]
    options: tuple[Option, ...] = Field(default=(), max_length=20, description="Of a choice.")
    least: int = Field(default=1, ge=0, le=10, description="Of a scale.")
    most: int = Field(default=5, ge=1, le=10, description="Of a scale.")
    least_label: str = Field(default="", max_length=100)
    most_label: str = Field(default="", max_length=100)
    required: bool = True
    criterion: Criterion | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "choice" and len(self.options) < 2:
            raise ValueError(Sentence("choice-needs-two", "a choice needs two options or more"))
        if self.kind != "choice" and self.options:
            raise ValueError(
                Sentence("options-of-a-choice", "options belong to a choice, not to %(kind)s", kind=self.kind)
            )
        if self.kind == "scale" and self.least >= self.most:
            raise ValueError(
                Sentence(
                    "scale-rises",
                    "a scale rises: least is %(least)s, most is %(most)s",
                    least=self.least,
                    most=self.most,
                )
            )
        _refuse_repeats("options", self.options)
        return self

    @property
    def names_a_side(self) -> bool:
        """Whether its answers name one of two responses as they were shown; of a pair nothing is the third."""
        named = {option.id for option in self.options}
        return named.issuperset(SIDES) and "third" not in named

    def takes(self, answer: str | int | bool) -> bool:
        """Whether `answer` is one that this question can have."""
        if self.kind == "yes_no":
            return isinstance(answer, bool)
        if self.kind == "scale":
            return type(answer) is int and self.least <= answer <= self.most
        if self.kind == "choice":
            return answer in {option.id for option in self.options}
        return isinstance(answer, str) and bool(answer.strip()) and len(answer) <= 4000

    @property
    def expects(self) -> str:
        """What `takes` takes, in words."""
        if self.kind == "yes_no":
            return "true or false"
        if self.kind == "scale":
            return f"a whole number from {self.least} to {self.most}"
        if self.kind == "choice":
            return "one of " + ", ".join(option.id for option in self.options)
        return "some words, at most 4000 characters"


class QuestionsForm(FormBase):
    """Fixed questions on a response, or on a pair shown as A and B."""

    kind: Literal["questions"] = "questions"
    about: Literal["response", "pair"] = "response"
    questions: tuple[Question, ...] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _conditions_look_back(self) -> Self:
        _refuse_repeats("questions", self.questions)
        earlier: dict[str, Question] = {}
        for question in self.questions:
            if question.when:
                asked = earlier.get(question.when.question)
                if asked is None:
                    raise ValueError(
                        Sentence(
                            "question-depends",
                            "question %(question)s depends on %(other)s, not asked before it",
                            question=question.id,
                            other=question.when.question,
                        )
                    )
                if bad := [answer for answer in question.when.answers if not asked.takes(answer)]:
                    raise ValueError(
                        Sentence(
                            "never-answered",
                            "question %(asked)s is never answered %(bad)s: it takes %(expects)s",
                            asked=asked.id,
                            bad=f"{bad[0]!r}",
                            expects=asked.expects,
                        )
                    )
            earlier[question.id] = question
        return self

    def asked(self, answers: dict[str, str | int | bool]) -> list[Question]:
        """The questions that are asked, given the answers so far."""
        shown: dict[str, Question] = {}
        for question in self.questions:
            when = question.when
            if when is None or (when.question in shown and _among(answers.get(when.question), when.answers)):
                shown[question.id] = question
        return list(shown.values())


class RulesForm(FormBase):
    """Does this response break rule N? One verdict a rule."""

    kind: Literal["rules"] = "rules"
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=40)
    probe: bool = Field(default=False, description="One task a rule, for each response; else one for all rules.")

    @model_validator(mode="after")
    def _rules_differ(self) -> Self:
        _refuse_repeats("rules", self.rules)
        return self

    def probed(self, ids: Sequence[str] | None) -> list[Rule]:
        """The rules of a task: those named, or all."""
        return [rule for rule in self.rules if ids is None or rule.id in ids]


FormSpec = Annotated[RankingForm | QuestionsForm | RulesForm, Field(discriminator="kind")]
_FORM: TypeAdapter[RankingForm | QuestionsForm | RulesForm] = TypeAdapter(FormSpec)


def read_form(spec: object) -> RankingForm | QuestionsForm | RulesForm:
    """The form of a stored `Form.spec`."""
    return _FORM.validate_python(spec)


def _among(answer: object, answers: Iterable[object]) -> bool:
    """Membership that does not take True for 1."""
    return any(type(answer) is type(one) and answer == one for one in answers)


def _refuse_repeats(what: str, items: Iterable[Option | Rule | Question]) -> None:
    if repeated := [key for key, times in Counter(item.id for item in items).items() if times > 1]:
        raise ValueError(
            Sentence("id-twice", "%(what)s: the id %(repeated)s stands twice", what=what, repeated=f"{repeated[0]!r}")
        )
