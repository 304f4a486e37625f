"""What annotators said, in whatever form, as one kind of record that a loss can read.

A ranking orders responses and may rate them; a verdict says that one breaks a rule; an answer says yes or
no to a question. Each becomes an `Annotation`: an order, where there is one, and labels in [0, 1] of single
responses, where there are any.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from alignment.shared.config import RewardConfig
from alignment.shared.records import SMALL_MARGINS, Answers, Prompt, Ranking, RuleVerdict

# Touvron et al. 2023, table 27. `large` gained nothing there (62.9 against 63.0 per cent), lost on
# near-ties, and splits the scores into two modes, which PPO would feel: `small` is the default.
MARGINS: Mapping[str, Mapping[int, float]] = {
    "small": SMALL_MARGINS,
    "large": {4: 3.0, 3: 2.0, 2: 1.0, 1: 0.0},
    "none": {},
}
BEST_RATING = 7
SIDES = {"first": (0, 1), "second": (1, 0), "tie": (0, 0)}  # an answer on a pair -> the ranks of the two


@dataclass(frozen=True)
class Label:
    """One response's acceptability, as far as somebody said it."""

    index: int  # into the annotation's texts
    target: float  # 0 unacceptable, 1 good
    coef: float


@dataclass(frozen=True)
class Annotation:
    """One annotator on the different responses of one prompt."""

    prompt: Prompt
    texts: tuple[str, ...]  # each once
    ranks: tuple[int, ...] | None  # of each text, 0 = best; None: no order was asked
    labels: tuple[Label, ...] = ()
    margin: float = 0.0  # by which the best should lead the next
    weight: float = 1.0
    annotator: str | None = None
    criterion: str = ""
    lineage: Mapping[str, str] = field(default_factory=dict)
    repeated: bool = False  # a text came more than once

    @property
    def orders(self) -> bool:
        """True where two responses stand at different ranks."""
        return self.ranks is not None and len(set(self.ranks)) > 1

    @property
    def task(self) -> tuple[str, frozenset[str], str]:
        """Annotations with the same are votes on the same thing."""
        return self.prompt.key, frozenset(self.texts), self.criterion


def annotation_of_ranking(ranking: Ranking, config: RewardConfig) -> Annotation:
    """A ranking with each text once: a text that came twice is tied with itself and is read once."""
    first: dict[str, int] = {}
    for index, text in enumerate(ranking.responses):
        first.setdefault(text, index)
    kept = list(first.values())
    return Annotation(
        prompt=ranking.prompt,
        texts=tuple(first),
        ranks=tuple(ranking.ranks[index] for index in kept),
        labels=tuple(_labels(ranking, kept, config)),
        margin=MARGINS[config.margins].get(ranking.strength or 1, 0.0),
        weight=ranking.weight,
        annotator=ranking.annotator,
        criterion=ranking.criterion or ranking.prompt.criterion or "",
        lineage=ranking.lineage,
        repeated=len(kept) < len(ranking.responses),
    )


def annotations_of_verdicts(verdicts: Iterable[RuleVerdict], config: RewardConfig) -> Iterator[Annotation]:
    """One annotation for each annotator, prompt and rule: kept above broken, and broken below 0.

    A rule of which an annotator saw no breach on a prompt gives neither order nor label.
    """

    def key(v: RuleVerdict) -> tuple[str, str, str]:
        return v.prompt.key, v.rule, v.annotator or ""

    for _, group in itertools.groupby(sorted(verdicts, key=key), key=key):
        said = [v for v in group if v.verdict != "unsure"]
        if not said:
            continue
        broken = {v.response: v.verdict == "broken" for v in said}
        yield Annotation(
            prompt=said[0].prompt,
            texts=tuple(broken),
            ranks=tuple(int(bad) for bad in broken.values()),
            labels=tuple(Label(i, 0.0, config.rule_coef) for i, bad in enumerate(broken.values()) if bad),
            weight=said[0].weight,
            annotator=said[0].annotator,
            criterion=f"rule {said[0].rule}",
            lineage=said[0].lineage,
        )


def annotations_of_answers(answers: Answers, config: RewardConfig) -> Iterator[Annotation]:
    """One annotation for each answered question that `config.questions` knows.

    Of one response: yes or no, or a grade from 1 to 7, is a label. Of a pair: `first`, `second` or `tie` is
    an order. A bad question turns either round. Other values say nothing here.
    """
    for answer in answers.answers:
        good = config.questions.get(answer.question)
        found = _answer(answer.value, len(set(answers.responses)), good == "bad", config.answer_coef) if good else None
        if found is None:
            continue
        yield Annotation(
            prompt=answers.prompt,
            texts=tuple(dict.fromkeys(answers.responses)),
            ranks=found[0],
            labels=found[1],
            weight=answers.weight,
            annotator=answers.annotator,
            criterion=f"question {answer.question}",
            lineage=answers.lineage,
        )


def _answer(
    value: bool | int | str, k: int, bad: bool, coef: float
) -> tuple[tuple[int, ...] | None, tuple[Label, ...]] | None:
    if k == 2 and value in SIDES:
        ranks = SIDES[str(value)]
        return (ranks[::-1] if bad else ranks), ()
    if k != 1 or isinstance(value, str) or (not isinstance(value, bool) and not 1 <= value <= BEST_RATING):
        return None
    target = float(value) if isinstance(value, bool) else _graded(value)
    return None, (Label(0, 1.0 - target if bad else target, coef),)


def _labels(ranking: Ranking, kept: list[int], config: RewardConfig) -> Iterator[Label]:
    for index, response in enumerate(kept):
        if ranking.all_bad and config.all_bad_coef:
            yield Label(index, 0.0, config.all_bad_coef)
        if ranking.ratings and config.rating_coef:
            yield Label(index, _graded(ranking.ratings[response]), config.rating_coef)
        if ranking.broken_rules and ranking.broken_rules[response] and config.rule_coef:
            yield Label(index, 0.0, config.rule_coef)


def _graded(rating: int) -> float:
    return (rating - 1) / (BEST_RATING - 1)
