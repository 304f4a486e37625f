"""Agreement of annotators: who is compared with whom, and who is found to disagree with the rest."""

import random

import pytest

from alignment.reward.report.agreement import measure_agreement, predictions
from alignment.shared.records import Prompt, Ranking


def ranking(who: str | None, groups: tuple[tuple[int, ...], ...], prompt: str = "p", k: int = 2) -> Ranking:
    return Ranking(
        prompt=Prompt.from_text(prompt), responses=tuple(f"r{i}" for i in range(k)), groups=groups, annotator=who
    )


def test_a_tie_counts_half_and_is_no_label() -> None:
    """a and b contradict each other, a and c agree, b and c contradict; d tied: half against each of the three."""
    first, second = ((0,), (1,)), ((1,), (0,))
    found = list(predictions([ranking("a", first), ranking("b", second), ranking("c", first), ranking("d", ((0, 1),))]))
    said = {(p.by, p.of): p.right for p in found}
    assert said == {
        ("a", "b"): 0.0, ("b", "a"): 0.0, ("a", "c"): 1.0, ("c", "a"): 1.0, ("b", "c"): 0.0, ("c", "b"): 0.0,
        ("d", "a"): 0.5, ("d", "b"): 0.5, ("d", "c"): 0.5,
    }  # fmt: skip


def test_the_same_responses_in_another_order_are_the_same_item() -> None:
    mine = ranking("a", ((2,), (0,), (1,)), k=3)
    other = Ranking(prompt=mine.prompt, responses=("r1", "r2"), groups=((1,), (0,)), annotator="b")
    assert [p.right for p in predictions([mine, other])] == [1.0, 1.0]  # both prefer r2 to r1; r0 was shown to one


def test_nobody_shares_a_pair_so_the_ceiling_is_unknown() -> None:
    found = measure_agreement([ranking("a", ((0,), (1,)), "p"), ranking("b", ((0,), (1,)), "q")])
    assert found.ceiling is None
    assert found.reachable is None


def test_a_second_ranking_of_the_same_person_is_no_agreement_but_unnamed_ones_are_different_people() -> None:
    twice = [ranking("a", ((0,), (1,))), ranking("a", ((1,), (0,)))]
    assert list(predictions(twice)) == []
    unnamed = [ranking(None, ((0,), (1,))), ranking(None, ((0,), (1,)))]
    assert [p.right for p in predictions(unnamed)] == [1.0, 1.0]
    assert measure_agreement(unnamed).people == ()


def crowd(flip: dict[str, float], prompts: int = 80, seed: int = 0) -> list[Ranking]:
    """Each annotator reverses the true order of a pair with the given chance."""
    rng = random.Random(seed)
    return [
        ranking(who, ((1,), (0,)) if rng.random() < chance else ((0,), (1,)), f"p{i}")
        for i in range(prompts)
        for who, chance in flip.items()
    ]


def test_with_equal_error_the_ceiling_and_what_is_reachable_are_known() -> None:
    """Right in 0.9: two agree in 0.9^2 + 0.1^2 = 0.82, and a perfect model reaches 0.9."""
    found = measure_agreement(crowd(dict.fromkeys("abcd", 0.1), prompts=1500))
    assert found.ceiling is not None
    assert found.ceiling.value == pytest.approx(0.82, abs=0.015)
    assert found.reachable == pytest.approx(0.9, abs=0.012)
    assert found.without_flagged is None
    assert not any(person.flagged for person in found.people)


def test_a_careless_and_a_contrary_annotator_are_found_and_no_other() -> None:
    found = measure_agreement(crowd({"ada": 0.1, "bo": 0.1, "cy": 0.12, "dora": 0.5, "eve": 0.95}))
    assert {person.name: person.kind for person in found.people if person.flagged} == {
        "dora": "careless",
        "eve": "contrary",
    }
    assert found.without_flagged is not None
    assert found.ceiling is not None
    assert found.without_flagged.value > found.ceiling.value + 0.1


def test_of_two_people_who_disagree_neither_is_the_careless_one() -> None:
    assert measure_agreement(crowd({"ada": 0.0, "bo": 0.5})).people == ()


def test_a_low_agreement_that_may_be_chance_is_not_flagged() -> None:
    """Contrary in 4 of 12: 67 % with the others, who agree always; twelve prompts prove neither."""
    same = [ranking(who, ((0,), (1,)), f"p{i}") for i in range(12) for who in "abc"]
    other = [ranking("d", ((1,), (0,)) if i < 4 else ((0,), (1,)), f"p{i}") for i in range(12)]
    (person,) = [person for person in measure_agreement([*same, *other]).people if person.name == "d"]
    assert person.agreement.value == pytest.approx(8 / 12)
    assert person.rest.value == 1.0
    assert not person.flagged


def test_orders_by_different_criteria_are_not_held_against_one_another() -> None:
    helpful = [ranking(who, ((0,), (1,))).model_copy(update={"criterion": "helpful"}) for who in ("a", "b")]
    honest = [ranking(who, ((1,), (0,))).model_copy(update={"criterion": "honest"}) for who in ("a", "b")]
    assert [p.right for p in predictions([*helpful, *honest])] == [1.0] * 4


def test_a_second_order_by_the_same_criterion_counts_once() -> None:
    """So older snapshots hold it where the prompt's own criterion was ranked apart, too; also of a decision."""
    found = []
    for kind, who, own in (("submission", "a", ((0,), (1,))), ("decision", "b", ((1,), (0,)))):
        whole, lineage = ranking(who, own), {kind: who, "task": "t"}
        found.append(whole.model_copy(update={"criterion": "honest", "lineage": lineage}))
        apart = {"criterion": "honest", "lineage": lineage | {"order": "honest"}}
        found.append(ranking(who, ((0,), (1,))).model_copy(update=apart))
    assert [p.right for p in predictions(found)] == [0.0, 0.0]
