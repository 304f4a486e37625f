"""The scripted annotators: valid rankings, of the care that each is given."""

import random
from itertools import combinations

import pytest

from alignment.shared.records import Demonstration, Prompt, Ranking
from alignment.toyworld.people import Annotator, annotators
from alignment.toyworld.world import World


@pytest.fixture(scope="module")
def tasks(world: World) -> list[tuple[Prompt, list[str]]]:
    """Prompts with four replies each, as the corpus answers them."""
    replies: dict[Prompt, list[str]] = {}
    for text in world.corpus():
        if isinstance(text, Demonstration):
            replies.setdefault(text.prompt, []).append(text.response)
    return [(prompt, texts[:4]) for prompt, texts in replies.items() if len(texts) >= 4][:600]


def agreement(annotator: Annotator, world: World, tasks: list[tuple[Prompt, list[str]]]) -> float:
    """Share of the pairs with a clear difference in gold that the annotator orders rightly, ties half."""
    points = []
    for prompt, texts in tasks:
        ranks = Ranking(prompt=prompt, responses=tuple(texts), groups=annotator.rank(prompt, texts)).ranks
        for i, j in combinations(range(len(texts)), 2):
            difference = world.gold(prompt, texts[i]) - world.gold(prompt, texts[j])
            if abs(difference) > 0.25:
                points.append(0.5 if ranks[i] == ranks[j] else float((ranks[i] < ranks[j]) == (difference > 0)))
    return sum(points) / len(points)


def test_there_are_six_or_more_different_people(world: World) -> None:
    people = annotators(world)
    assert len({person.email for person in people}) == len(people) >= 6


def test_care_shows_in_agreement_with_gold(world: World, tasks: list[tuple[Prompt, list[str]]]) -> None:
    care = {person.name: agreement(person, world, tasks) for person in annotators(world)}
    careless = care.pop("Nils Sorglos")
    assert 0.5 < careless < 0.7
    assert all(0.8 < value < 1.0 for value in care.values()), care
    assert care["Ines Falk"] == max(care.values())


def test_rankings_repeat_and_identical_replies_tie(world: World, tasks: list[tuple[Prompt, list[str]]]) -> None:
    prompt, texts = tasks[0]
    doubled = [texts[0], texts[1], texts[0], texts[2]]
    for person in annotators(world):
        groups = person.rank(prompt, doubled)
        assert groups == person.rank(prompt, doubled)
        assert sum({0, 2} <= set(group) for group in groups) == 1


def test_one_is_drawn_to_what_stands_first(world: World, tasks: list[tuple[Prompt, list[str]]]) -> None:
    def firsts(person: Annotator) -> float:
        """How often the reply shown first is ranked above an equally good one shown last."""
        rng, seen = random.Random(0), []
        for prompt, texts in tasks:
            rng.shuffle(texts)
            if texts[0] != texts[-1] and world.gold(prompt, texts[0]) == world.gold(prompt, texts[-1]):
                ranks = Ranking(prompt=prompt, responses=tuple(texts), groups=person.rank(prompt, texts)).ranks
                seen.append(0.5 if ranks[0] == ranks[-1] else float(ranks[0] < ranks[-1]))
        return sum(seen) / len(seen)

    share = {person.name: firsts(person) for person in annotators(world)}
    assert share.pop("Petra Vogel") > 0.9
    assert all(0.4 < value < 0.6 for value in share.values()), share
