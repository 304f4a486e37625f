"""Each alarm on a curve that calls for it, and silence on one that does not."""

import json
from typing import Any

import pytest

from alignment.ppo.alarms.monitor import Alarm, Monitor
from alignment.ppo.alarms.rules import RULES
from alignment.ppo.alarms.view import Bounds, Standing
from alignment.shared.policy.guard_config import AlarmConfig, AlarmName
from alignment.shared.sentence import joined, parts

CALM = {
    "score": 1.0,
    "raw_score": 1.0,
    "reward": 0.9,
    "kl": 2.0,
    "response_length": 20.0,
    "repeated_share": 0.05,
    "entropy": 2.0,
    "clip_fraction": 0.1,
    "value_clip_fraction": 0.1,
    "explained_variance": 0.4,
    "disagreement": 0.5,
    "finished_share": 0.95,
}
BOUNDS = Bounds(max_kl=20.0, min_specificity=0.85)
GOOD = [Standing(0, 1.0, 0.0, 0.1, True), Standing(5, 1.2, -0.2, 0.1, True)]


def curve(changed: dict[str, float], updates: int = 12) -> list[dict[str, float]]:
    """Calm at first; from the middle on with what has changed."""
    return [{"update": n, **CALM, **(changed if n > updates // 2 else {})} for n in range(1, updates + 1)]


def monitor(**settings: Any) -> Monitor:
    return Monitor(AlarmConfig.model_validate(settings), BOUNDS, reference_std=1.5)


def names(changed: dict[str, float], evaluations: list[Standing] = GOOD) -> list[AlarmName]:
    return [alarm.name for alarm in monitor().observe(curve(changed), evaluations)]


def test_a_calm_run_raises_no_alarm() -> None:
    assert names({}) == []
    assert names({"score": 1.4, "reward": 1.2, "kl": 4.0, "entropy": 1.5, "response_length": 25.0}) == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("over_optimisation", {"score": 2.0, "reward": 0.5}),
        ("beyond_reference", {"raw_score": 3.2}),  # 3.2 / 1.5 deviations
        ("kl_budget", {"kl": 20.5}),
        ("length", {"response_length": 31.0}),
        ("length", {"response_length": 12.0}),
        ("repetition", {"repeated_share": 0.25}),
        ("entropy", {"entropy": 0.5}),
        ("policy_clipping", {"clip_fraction": 0.35}),
        ("value_clipping", {"value_clip_fraction": 0.6}),
        ("critic", {"explained_variance": -0.2}),
        ("disagreement", {"disagreement": 0.8}),
        ("missing_eos", {"finished_share": 0.7}),
        ("engine_gap", {"engine_gap": 0.3}),
    ],
)
def test_each_alarm_for_its_own_curve_and_no_other(name: AlarmName, changed: dict[str, float]) -> None:
    assert names(changed) == [name]


def test_every_alarm_has_a_test_above_and_says_what_to_do() -> None:
    marks = test_each_alarm_for_its_own_curve_and_no_other.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marks[0].args[1]} | {"sameness"} == set(RULES)
    for name, changed in marks[0].args[1]:
        (alarm,) = [a for a in monitor().observe(curve(changed), GOOD) if a.name == name]
        assert alarm.update == 12
        for part in (alarm.found, alarm.likely, alarm.advice):
            assert len(part) > 20
            assert part.endswith(".")


def test_a_fall_on_heldout_prompts_beyond_the_noise_is_over_optimisation() -> None:
    """The score of the rollouts rises meanwhile; a fall within two standard errors says nothing."""
    rising = {"score": 2.0, "reward": 1.5}
    assert names(rising, [*GOOD, Standing(10, 0.8, 0.4, 0.19, False)]) == ["over_optimisation"]
    assert names(rising, [*GOOD, Standing(10, 0.8, 0.4, 0.21, False)]) == []


def test_replies_that_tell_too_little_of_their_prompts_are_sameness() -> None:
    """On evaluations alone: what is too little, and beyond the noise, evaluation.py says."""
    assert names({}, [*GOOD, Standing(10, 1.5, -0.3, 0.1, False, specificity=0.89, fell=True)]) == ["sameness"]
    assert names({}, [*GOOD, Standing(10, 1.5, -0.3, 0.1, True, specificity=0.89, fell=False)]) == []
    assert names({}, [*GOOD, Standing(10, 1.5, -0.3, 0.1, True, specificity=0.9, fell=True)]) == []
    (alarm,) = monitor().observe(curve({}), [*GOOD, Standing(10, 1.5, -0.3, 0.1, False, 0.71, True)])
    assert "71%" in alarm.found
    assert alarm.likely.endswith(".")
    assert "kl_coef" in alarm.advice


def test_an_alarm_is_raised_once() -> None:
    ear, rows = monitor(), curve({"kl": 30.0})
    reported = [alarm.update for end in range(1, 13) for alarm in ear.observe(rows[:end], GOOD)]
    assert reported == [7]
    assert [alarm.name for alarm in ear.alarms] == ["kl_budget"]


def test_nothing_is_judged_before_there_is_something_to_compare() -> None:
    ear, rows = monitor(), curve({"entropy": 0.1, "response_length": 99.0}, updates=4)
    assert [alarm for end in range(1, 5) for alarm in ear.observe(rows[:end], GOOD)] == []


def test_a_young_critic_may_explain_nothing() -> None:
    rows = [{"update": n, **CALM, "explained_variance": -1.0} for n in range(1, 13)]
    ear = monitor(critic_grace=10)
    assert [alarm.update for end in range(1, 13) for alarm in ear.observe(rows[:end], GOOD)] == [11]


def test_a_single_reward_model_and_an_unmeasured_one_raise_nothing_of_their_own() -> None:
    rows = [
        {name: value for name, value in row.items() if name != "disagreement"} for row in curve({"raw_score": 99.0})
    ]
    assert Monitor(AlarmConfig(), BOUNDS, reference_std=None).observe(rows, GOOD) == []


def test_chosen_alarms_and_lost_patience_end_training() -> None:
    ear = monitor(stop_on=["kl_budget"])
    ear.observe(curve({"kl": 20.5}), GOOD)
    assert "kl_budget of update 12 ended training" in str(ear.stops(GOOD))
    assert monitor().stops(GOOD) is None
    waiting = [*GOOD, Standing(10, 1.0, 0.2, 0.2, False), Standing(15, 1.0, 0.2, 0.2, False)]
    assert monitor(patience=3).stops(waiting) is None
    assert "last 2 evaluations kept no new policy" in str(monitor(patience=2).stops(waiting))


def test_patience_begins_once_the_policy_learns() -> None:
    """While the critic learns alone, every evaluation is of the policy that is kept already."""
    waiting = [Standing(update, 1.0, 0.0, 0.0, update == 0) for update in (0, 5, 10, 15, 20, 25)]
    ear = Monitor(AlarmConfig(patience=2), BOUNDS, idle=15)
    assert ear.stops(waiting[:5]) is None
    assert "last 2 evaluations kept no new policy" in str(ear.stops(waiting))


def test_an_alarm_keeps_its_codes_in_a_checkpoint_and_in_the_result() -> None:
    """A checkpoint of before holds plain words: they are gone on with as they are."""
    (raised,) = monitor().observe(curve({"kl": 20.5}), GOOD)
    kept = Alarm.load(json.loads(json.dumps(raised.state())))
    assert (kept, kept.found.code, kept.found.values) == (raised, "kl-budget-found", {"kl": "20.5", "most": "20"})
    told = json.loads(json.dumps(raised.record()))
    assert told["sentence"] == f"{raised.found} {raised.likely} {raised.advice}"
    assert joined(told["said"]) == told["sentence"]
    assert parts(joined(told["said"])) == told["said"]
    before = {"name": "kl_budget", "update": 7, "found": "The KL is 100%.", "likely": "Far.", "advice": "Stop."}
    assert Alarm.load(before).sentence == "The KL is 100%. Far. Stop."
