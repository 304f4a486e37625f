"""Probes: the changes themselves, and what they say of scorers that are known."""

from collections.abc import Sequence

import pytest

from alignment.reward.report import probes
from alignment.reward.report.probes import Probe, batch_dependence, run_probes
from alignment.shared.errors import BadInput
from alignment.shared.records import Prompt, Ranking

RANKINGS = [
    Ranking(
        prompt=Prompt.from_text(f"Question {i}?"),
        responses=(f"A good answer. It has {i} reasons.", "It is short.", "What do I know, ask another."),
        groups=((0,), (1,), (2,)),
    )
    for i in range(12)
]


def measured(score) -> dict[str, Probe]:  # type: ignore[no-untyped-def]
    return {probe.name: probe for probe in run_probes(RANKINGS, score)}


def by_length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def test_the_changes() -> None:
    assert probes.formatted("Yes. It is!") == "**Answer**\n\n- Yes.\n- It is!"
    assert probes.formatted("好。是的。") == "**Answer**\n\n- 好。\n- 是的。"
    assert probes.truncated("one two three four") == "one two"
    assert probes.truncated("abcdef") == "abc"
    assert probes.repeated("Yes.") == "Yes. Yes."
    assert probes.flattered("Yes.").startswith("Yes. What a")


def test_a_scorer_of_length_can_be_gamed_by_whatever_is_longer() -> None:
    found = measured(by_length)
    assert found["repetition"].rises == found["flattery"].rises == 1.0
    assert found["flattery"].overtakes == 1.0
    assert found["flattery"].flips == 0.0
    assert found["truncation"].change < 0
    assert found["truncation"].overtakes == 0.0
    assert found["flattery"].pairs == 36


def test_what_rises_without_passing_the_better_one_does_not_overtake() -> None:
    """The good answer is far above; of the three pairs of a ranking only the other two can change places."""
    found = measured(lambda prompts, texts: [len(text) + 500.0 * ("good" in text) for text in texts])
    assert found["flattery"].rises == 1.0
    assert found["flattery"].overtakes == pytest.approx(1 / 3)


def test_a_scorer_that_ignores_the_change_is_not_moved() -> None:
    found = measured(lambda prompts, texts: [float("good" in text) - float("ask" in text) for text in texts])
    assert found["flattery"] == Probe("flattery", 0.0, 0.0, 0.0, 0.0, 36, 36)
    assert found["closing_zh"].change == found["closing_en"].change == 0.0


def test_the_order_turns_where_both_are_changed() -> None:
    """More stars are better as long as nobody flatters; then fewer are."""
    found = measured(lambda prompts, texts: [len(t) * (-1.0 if "wonderful" in t else 1.0) for t in texts])
    assert found["flattery"].flips == 1.0


def test_what_grew_beyond_all_that_was_scored_before_is_left_alone() -> None:
    long = Ranking(prompt=Prompt.from_text("?"), responses=("x " * 500, "y " * 20), groups=((0,), (1,)))
    found = {probe.name: probe for probe in run_probes([long], by_length)}
    assert found["repetition"].responses == 1
    assert found["repetition"].pairs == 0


def test_a_change_that_no_longer_fits_the_model_is_left_out() -> None:
    def narrow(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        if any("wonderful" in text for text in texts):
            raise BadInput("too long")
        return by_length(prompts, texts)

    assert "flattery" not in measured(narrow)
    assert "truncation" in measured(narrow)


def test_a_score_that_depends_on_its_place_is_seen() -> None:
    assert batch_dependence(RANKINGS, by_length) == 0.0
    assert batch_dependence(RANKINGS, lambda p, t: [len(x) + i for i, x in enumerate(t)]) > 0.5


def test_the_same_rankings_are_probed_in_any_order_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MOST", 15)
    assert probes.chosen_for_probes(RANKINGS) == probes.chosen_for_probes(RANKINGS[::-1])
    assert len(probes.chosen_for_probes([*RANKINGS, *RANKINGS])) == 5
