"""The named signals: small cases by hand, and planted people over 20 seeds."""

from __future__ import annotations

import itertools
import random
import sys
import uuid
from collections import defaultdict
from collections.abc import Sequence
from statistics import median_high

import pytest

from annotation_api.annotation.signals.given import GivenAnswer, read_answer
from annotation_api.annotation.signals.readings import LEAST, EverybodyElse, SignalName, SignalReading, read
from annotation_api.annotation.signals.service import read_all
from annotation_api.annotation.signals.together import read_together
from tests.support.quality.planted_people import FOUND_BY, HONEST, PLANTED, answers

ME, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
SEEDS = 20


def ranked(
    *ranks: int, sizes: Sequence[int] = (), seconds: float | None = 60.0, person: uuid.UUID = ME, task: int = 0
) -> GivenAnswer:
    """`ranked(0, 1, 1)`: what stands first is best, the other two are tied."""
    keys = tuple(f"response {place}" for place in range(len(ranks)))
    lengths = tuple(sizes) or tuple(100 + 10 * place for place in range(len(ranks)))
    read_bytes = sum(lengths) + 50
    return GivenAnswer(uuid.uuid4(), uuid.UUID(int=task), person, keys, ranks, "", "", lengths, read_bytes, seconds)


def said(words: str, person: uuid.UUID = ME) -> GivenAnswer:
    return GivenAnswer(uuid.uuid4(), uuid.uuid4(), person, ("a",), (), words, words, (100,), 150, 60.0)


def shuffled(count: int, size: int = 3) -> list[GivenAnswer]:
    """Orders that have nothing to do with the places."""
    rng = random.Random(count)
    return [ranked(*rng.sample(range(size), size)) for _ in range(count)]


def found(own: Sequence[GivenAnswer], name: SignalName, others: Sequence[GivenAnswer] = ()) -> SignalReading:
    return next(reading for reading in read(own, EverybodyElse.of(others)) if reading.name is name)


def test_a_submission_is_read_by_the_places_on_the_page() -> None:
    payload = {"groups": [["b"], ["a", "c"]]}
    given = read_answer(
        uuid.uuid4(), uuid.uuid4(), ME, payload, ["c", "b", "a"], {"a": 1, "b": 2, "c": 3}, 10, 1500, ()
    )
    assert (given.ranks, given.ties, given.arrangements) == ((1, 0, 1), (1, 2), 3)
    assert (given.sizes, given.read, given.seconds) == ((3, 2, 1), 16, 1.5)
    words = read_answer(uuid.uuid4(), uuid.uuid4(), ME, {"answers": {"x": True}}, ["a"], {"a": 1}, 10, None, ())
    assert (words.ranks, words.said, words.seconds) == ((), '{"x":true}', None)


def test_of_what_chance_gives_the_kind_with_most_answers_is_told() -> None:
    one = ranked(0, 1, 2, 3)  # it is all of its kind, and says nothing
    each_twice = [ranked(*order) for order in itertools.permutations(range(3))] * 2
    told = found([one, *each_twice], SignalName.STRAIGHT)
    assert (told.answers, told.raised) == (12, False)


def test_speed_is_what_nobody_can_read() -> None:
    quick = [ranked(0, 1, sizes=(3000, 3000), seconds=20.0) for _ in range(8)]  # 6050 bytes take 100 s at least
    slow = [ranked(0, 1, sizes=(3000, 3000), seconds=120.0) for _ in range(8)]
    reading = found(quick + slow, SignalName.SPEED)
    assert (reading.value, reading.answers, reading.raised) == (0.5, 16, True)
    assert reading.evidence == tuple(answer.submission for answer in quick)
    assert not found(quick[:1] + slow * 2, SignalName.SPEED).raised
    short = [ranked(0, 1, sizes=(5, 6), seconds=0.9) for _ in range(LEAST)]
    assert found(short, SignalName.SPEED).raised  # under a second, however short the texts are
    assert [
        r.name for r in read([ranked(0, 1, seconds=None)], EverybodyElse.of([])) if r.name is SignalName.SPEED
    ] == []


def test_the_same_places_again_and_again() -> None:
    """12 of 12 orders of two by chance: 2 (1/2)^12 = 0.0005; of ten 0.002 is too little to say."""
    same = [ranked(0, 1) for _ in range(12)]
    assert found(same, SignalName.STRAIGHT).raised
    assert not found(same[:10], SignalName.STRAIGHT).raised
    assert found([ranked(0, 1, 2, 3) for _ in range(LEAST)], SignalName.STRAIGHT).raised
    assert not found(shuffled(60), SignalName.STRAIGHT).raised
    tied = [ranked(0, 0, 0) for _ in range(40)]  # all equal lies in one way only: that follows no places
    assert [r for r in read(tied, EverybodyElse.of([])) if r.name is SignalName.STRAIGHT] == []


def test_the_same_words_are_a_signal_only_where_others_do_not_say_them_as_often() -> None:
    mine = [said("kept") for _ in range(20)]
    agree = [said("kept", OTHER) for _ in range(19)] + [said("broken", OTHER)]
    mixed = [said("kept", OTHER) for _ in range(10)] + [said("broken", OTHER) for _ in range(10)]
    assert not found(mine, SignalName.STRAIGHT, agree).raised
    assert found(mine, SignalName.STRAIGHT, mixed).raised
    assert read(mine, EverybodyElse.of([]))[1:] == []  # with nobody to compare, nothing is said (but speed)


def test_the_tau_with_the_places() -> None:
    """By hand: (0, 1, 2) keeps 3 of 3 pairs, (1, 0, 2) keeps 2 and turns 1, (0, 0, 1) keeps 2 and ties 1."""
    given = [ranked(0, 1, 2), ranked(1, 0, 2), ranked(0, 0, 1)]
    assert found(given, SignalName.POSITION).value == pytest.approx((3 + 1 + 2) / (3 + 3 + 2))
    assert not found(given, SignalName.POSITION).raised  # three answers
    assert found([ranked(0, 1, 2) for _ in range(LEAST)], SignalName.POSITION).raised
    assert found([ranked(2, 1, 0) for _ in range(LEAST)], SignalName.POSITION).value == -1
    assert not found(shuffled(100), SignalName.POSITION).raised


def test_a_copy_of_the_lengths_is_a_signal_only_where_others_do_not_copy_them() -> None:
    mine = [ranked(2, 0, 1, sizes=(10, 30, 20)) for _ in range(12)]  # the longest first
    copying = [ranked(2, 0, 1, sizes=(10, 30, 20), person=OTHER) for _ in range(40)]
    other = [ranked(0, 1, 2, sizes=(10, 30, 20), person=OTHER) for _ in range(40)]
    assert found(mine, SignalName.LENGTH, other).raised
    assert not found(mine, SignalName.LENGTH, copying).raised  # here what is good is long
    shortest = [ranked(0, 2, 1, sizes=(10, 30, 20)) for _ in range(12)]
    assert found(shortest, SignalName.LENGTH, other).raised
    equal = [ranked(0, 1, sizes=(10, 10)) for _ in range(12)]
    assert [r for r in read(equal, EverybodyElse.of(other)) if r.name is SignalName.LENGTH] == []


def test_who_contradicts_the_others_and_who_errs_alike() -> None:
    """Seven people agree on 12 tasks; two turn every order round."""
    people = [uuid.UUID(int=number) for number in range(9)]
    given = [
        ranked(*((0, 1, 2) if number < 7 else (2, 1, 0)), person=person, task=task)
        for task in range(12)
        for number, person in enumerate(people)
    ]
    readings = read_together(given)
    apart = {person: readings[person][0] for person in people}
    assert [apart[person].raised for person in people] == [False] * 7 + [True] * 2
    assert apart[people[7]].value == 1.0
    pairs = {(person, r.other) for person in people for r in readings[person] if r.name is SignalName.PAIR}
    assert pairs == {(people[7], people[8]), (people[8], people[7])}


def test_planted_people_are_found_and_careful_ones_are_left_alone() -> None:
    """Ten people judge 60 tasks, in 20 worlds, and are looked at four times."""
    first: dict[str, list[int]] = defaultdict(list)
    falsely: list[tuple[int, str, str]] = []
    for seed in range(SEEDS):
        given = dict(answers(HONEST + PLANTED, seed, 60))
        seen: set[str] = set()
        for count in (10, 20, 40, 60):
            readings = read_all({found[0].person: found[:count][::-1] for found in given.values()})
            for person, found_ in given.items():
                raised = {reading.name.value for reading in readings[found_[0].person] if reading.raised}
                if person in HONEST:
                    falsely += [(seed, person.name, name) for name in raised]
                elif raised & FOUND_BY[person.name] and person.name not in seen:
                    seen.add(person.name)
                    first[person.name].append(count)
    assert falsely == []
    assert {name: len(counts) for name, counts in first.items()} == dict.fromkeys(FOUND_BY, SEEDS)
    assert max(map(median_high, first.values())) <= 20
    assert median_high(first["hasty"]) == median_high(first["position-biased"]) == 10


def steps(people: int) -> int:
    """Calls of Python while `people` who gave 30 answers each, three to a task, are read."""
    given: dict[uuid.UUID, list[GivenAnswer]] = defaultdict(list)
    rng = random.Random(0)
    for n in range(people * 30):
        person = uuid.UUID(int=1 + n % people)
        given[person].append(ranked(*rng.sample(range(3), 3), person=person, task=n // 3))
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        read_all(given)
    finally:
        sys.setprofile(None)
    return calls


def test_twice_as_many_people_take_twice_the_work() -> None:
    """A person's answers are held against the sums of the others', not against each of theirs."""
    few, many = steps(20), steps(40)
    assert many < 2.3 * few, (few, many)
