"""Rankings whose truth is known: a score that is a lookup of words, and annotators whose faults are planted.

An annotator orders K responses by score plus Gumbel noise (Plackett-Luce), so that of two responses the better
by d is preferred with probability sigmoid(d): the best accuracy that any model can have is known exactly.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alignment.shared.records import Prompt, Ranking
from annotation_api.annotation.review.disputes import disagreement
from tests.support.alignment import tiny

Judge = Callable[[str, random.Random], float]  # what a response seems worth to an annotator


def worth(text: str) -> float:
    """The planted score: the mean of the words' values from -2.85 to 2.85, twice."""
    words = text.split()
    return 2 * sum(0.3 * (tiny.WORDS.index(word) - 9.5) for word in words) / len(words)


def honest(text: str, rng: random.Random) -> float:
    return worth(text) + gumbel(rng)


def careless(text: str, rng: random.Random) -> float:
    """Any order."""
    return gumbel(rng)


def contrary(text: str, rng: random.Random) -> float:
    """The form upside down."""
    return -worth(text) + gumbel(rng)


def lover_of_length(text: str, rng: random.Random) -> float:
    """The longer the better; of what the words say, little."""
    return 0.8 * len(text.split()) + 0.2 * worth(text) + gumbel(rng)


def reviewer(text: str, rng: random.Random) -> float:
    """Looks at each response twice and takes the mean."""
    return worth(text) + (gumbel(rng) + gumbel(rng)) / 2


def gumbel(rng: random.Random) -> float:
    return -math.log(-math.log(rng.random() or 1e-12))


@dataclass(frozen=True)
class Plan:
    """How many prompts, of how many responses, and who judges each of them."""

    prompts: int
    responses: int = 4
    judges: tuple[tuple[str, Judge], ...] = (("ann", honest),)
    overlap: int = 1
    seed: int = 0


def rankings(plan: Plan) -> list[Ranking]:
    """Each prompt's responses are ranked by `overlap` of the judges, in turn."""
    rng = random.Random(plan.seed)
    found = []
    for number in range(plan.prompts):
        prompt = Prompt.from_text(" ".join(rng.choices(tiny.WORDS, k=6)) + f" {tiny.WORDS[number % 20]}")
        texts = tuple({" ".join(rng.choices(tiny.WORDS, k=rng.randint(2, 9))): None for _ in range(plan.responses)})
        for turn in range(plan.overlap):
            name, judge = plan.judges[(number + turn) % len(plan.judges)]
            seems = [judge(text, rng) for text in texts]
            order = sorted(range(len(texts)), key=lambda i: -seems[i])
            if len(texts) > 1:
                groups = tuple((i,) for i in order)
                found.append(Ranking(prompt=prompt, responses=texts, groups=groups, annotator=name))
    return found


def adjudicated(rankings: Sequence[Ranking], share: float, seed: int) -> list[Ranking]:
    """The reviewer's order in place of the votes, on the prompts on which these differ most."""
    rng, votes = random.Random(f"review {seed}"), defaultdict(list)
    for ranking in rankings:
        votes[ranking.prompt.key].append(ranking)
    apart = {key: disagreement([{"groups": one.groups} for one in given]) for key, given in votes.items()}
    disputed = sorted(votes, key=lambda key: (-apart[key], key))[: round(share * len(votes))]
    decisions = [_decided(votes[key][0], rng) for key in disputed]
    return [one for one in rankings if one.prompt.key not in set(disputed)] + decisions


def _decided(vote: Ranking, rng: random.Random) -> Ranking:
    seems = [reviewer(text, rng) for text in vote.responses]
    order = sorted(range(len(seems)), key=lambda i: -seems[i])
    return vote.model_copy(update={"groups": tuple((i,) for i in order), "annotator": "reviewer"})


def expected_accuracy(held: Sequence[Ranking], score: Callable[[Ranking], Sequence[float]]) -> tuple[float, float]:
    """What the scorer's order would be right in, over all that honest annotators may say; and the Bayes limit."""
    right, best, pairs = 0.0, 0.0, 0
    for ranking in held:
        values, truth = score(ranking), [worth(text) for text in ranking.responses]
        for i in range(len(truth)):
            for j in range(i):
                chance = 1 / (1 + math.exp(truth[j] - truth[i]))  # that i is preferred
                right += chance if values[i] > values[j] else 1 - chance
                best += max(chance, 1 - chance)
                pairs += 1
    return right / pairs, best / pairs
