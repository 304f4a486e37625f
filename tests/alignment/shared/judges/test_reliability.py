"""Whom to trust: planted people are told apart, in orders and in values; nothing is said where nothing is shared."""

from __future__ import annotations

import random

import pytest

from alignment.shared.judges.reliability import of_orders, of_values

KINDS = ("broken", "kept", "unsure")


def planted_values(
    seed: int, right: dict[str, float], things: int = 1500
) -> tuple[list[dict[str, str]], dict[str, float]]:
    """Three of the people value each thing; and how often each of them was right."""
    chance, found, hits = random.Random(seed), [], {name: [0, 0] for name in right}
    for _ in range(things):
        truth, thing = chance.choice(KINDS), {}
        for name in chance.sample(list(right), 3):
            wrong = chance.choice([kind for kind in KINDS if kind != truth])
            thing[name] = truth if chance.random() < right[name] else wrong
            hits[name][0] += thing[name] == truth
            hits[name][1] += 1
        found.append(thing)
    return found, {name: n / total for name, (n, total) in hits.items()}


@pytest.mark.parametrize("seed", range(5))
def test_values_show_how_often_each_is_right(seed: int) -> None:
    things, truth = planted_values(seed, {"a": 0.95, "b": 0.85, "c": 0.7, "d": 0.5, "coin": 1 / 3})
    found = of_values(things)
    assert {name: one.value for name, one in found.items()} == pytest.approx(truth, abs=0.09)
    assert found["a"].low < found["a"].value < found["a"].high
    assert found["a"].weight > 0.75
    assert found["coin"].weight == 0.0
    assert found["a"].votes == sum("a" in thing for thing in things)


def planted_orders(seed: int, taste: dict[str, float], tasks: int = 300) -> list[list[tuple[str, list[int]]]]:
    """Three of the people rank four responses, each with a sense for the truth of its own."""
    chance, found = random.Random(seed), []
    for _ in range(tasks):
        truth, task = [chance.gauss(0, 1) for _ in range(4)], []
        for name in chance.sample(list(taste), 3):
            seen = [taste[name] * value + chance.gauss(0, 1.7) for value in truth]
            best_first = sorted(range(4), key=lambda place: -seen[place])
            task.append((name, [best_first.index(place) for place in range(4)]))
        found.append(task)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_orders_tell_the_careful_from_the_careless_and_the_contrary(seed: int) -> None:
    found = of_orders(planted_orders(seed, {"a": 6, "b": 6, "hasty": 1.5, "coin": 0, "contrary": -3, "slow": 3}))
    worth = {name: one.weight for name, one in found.items()}
    assert min(worth["a"], worth["b"], worth["slow"]) > worth["hasty"] > worth["coin"]
    assert worth["a"] > 0.8
    assert worth["coin"] < 0.2
    assert worth["contrary"] == 0.0
    assert found["coin"].low <= 0.5 <= found["coin"].high
    assert found["contrary"].high < 0.5


def test_nothing_is_said_of_who_shares_nothing() -> None:
    assert of_orders([[("a", (0, 1))], [("b", (0, 1)), ("b", (1, 0))]]) == {}
    assert of_orders([]) == {}
    assert of_values([{"a": "kept"}, {"b": "broken"}]) == {}
    assert of_values([{"a": "kept", "b": "kept"}]) == {}  # one value alone


def test_ties_say_nothing_of_reliability() -> None:
    assert of_orders([[("a", (0, 0)), ("b", (0, 0))]]) == {}
