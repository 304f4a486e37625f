"""The gate: what is refused, for which reason, and how a refusal is overruled."""

import json
from pathlib import Path

import pytest

from alignment.shared import gate
from alignment.shared.config import GateConfig, PPOConfig
from alignment.shared.errors import BadInput, StageError
from alignment.shared.events import NullReporter
from alignment.shared.gate import GateOutcome, decide

SOUND = {
    "heldout_accuracy": 0.76,
    "heldout_accuracy_low": 0.70,
    "heldout_accuracy_high": 0.82,
    "heldout_prompts": 50.0,
    "annotator_agreement": 0.80,
    "annotator_agreement_low": 0.76,
    "length_controlled_accuracy": 0.72,
}
WHY = "a stated reason"


def outcome(**changes: float | None) -> GateOutcome:
    return decide({**SOUND, **changes}, GateConfig()).outcome


def test_a_sound_model_passes_with_or_without_what_is_unknown() -> None:
    assert outcome() is GateOutcome.PASSED
    only = {name: SOUND[name] for name in ("heldout_accuracy", "heldout_accuracy_low", "heldout_accuracy_high")}
    assert decide(only, GateConfig()).outcome is GateOutcome.PASSED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heldout_accuracy_low": 0.5}, "not above chance"),
        ({"heldout_accuracy": 0.2, "heldout_accuracy_low": 0.1}, "not above chance"),
        ({"heldout_accuracy": None}, "unknown"),
        ({"heldout_accuracy": float("nan")}, "unknown"),
        ({"heldout_prompts": 9.0}, "Only 9 held-out prompts"),
        # Half of the way from 0.5 to 0.76 is 0.63.
        ({"heldout_accuracy": 0.625, "heldout_accuracy_low": 0.55}, "at least 63.0% is asked"),
        # A rule of length alone is as good, and what is left without length may be chance.
        ({"longer_rule_accuracy": 0.76, "length_controlled_accuracy_low": 0.5}, "nothing but length"),
        ({"longer_rule_accuracy": 0.24, "length_controlled_accuracy_low": 0.49}, "right in 76.0%"),
        # The gain is 0.26; less than half of it is left.
        ({"length_controlled_accuracy": 0.62}, "mostly length"),
    ],
)
def test_each_fault_is_refused_by_name(changes: dict[str, float | None], said: str) -> None:
    decision = decide({**SOUND, **changes}, GateConfig())
    assert decision.outcome is GateOutcome.REFUSED
    assert said in decision.words


def test_the_borders_are_on_the_good_side() -> None:
    assert (
        outcome(heldout_accuracy=0.63, heldout_accuracy_low=0.55, length_controlled_accuracy=0.63) is GateOutcome.PASSED
    )
    assert outcome(length_controlled_accuracy=0.63) is GateOutcome.PASSED
    assert outcome(heldout_prompts=10.0) is GateOutcome.PASSED
    assert outcome(longer_rule_accuracy=0.75, length_controlled_accuracy_low=0.4) is GateOutcome.PASSED
    assert outcome(longer_rule_accuracy=0.9, length_controlled_accuracy_low=0.51) is GateOutcome.PASSED


def test_annotators_who_agree_no_better_than_a_coin_set_no_bar() -> None:
    assert outcome(annotator_agreement=0.52, annotator_agreement_low=0.48) is GateOutcome.PASSED


def test_the_settings_move_the_bars() -> None:
    strict = GateConfig(min_ceiling_share=1.0, min_length_controlled_share=0.95)
    reasons = decide(SOUND | {"heldout_accuracy": 0.74}, strict).reasons
    assert len(reasons) == 2
    loose = GateConfig(min_ceiling_share=0.0, min_length_controlled_share=0.0)
    weak = SOUND | {"heldout_accuracy": 0.55, "heldout_accuracy_low": 0.51, "length_controlled_accuracy": 0.5}
    assert decide(weak, loose).outcome is GateOutcome.PASSED


def test_a_refusal_is_overruled_only_by_a_reason_and_both_are_recorded() -> None:
    decision = decide(SOUND | {"heldout_accuracy_low": 0.4}, GateConfig(), WHY)
    assert decision.outcome is GateOutcome.ACCEPTED
    assert decision.record()["accepted_because"] == WHY
    assert WHY in decision.words
    assert "not above chance" in decision.words
    assert decide(SOUND, GateConfig(), WHY).outcome is GateOutcome.PASSED
    with pytest.raises(ValueError, match="at least 10 characters"):
        PPOConfig(accept_reward_model="yes")


def test_a_model_without_a_report_is_let_through_or_not() -> None:
    assert decide(None, GateConfig()).outcome is GateOutcome.UNMEASURED
    assert "Nothing is known" in decide(None, GateConfig()).words
    assert decide(None, GateConfig(unmeasured="refuse")).outcome is GateOutcome.REFUSED
    assert decide(None, GateConfig(unmeasured="refuse"), WHY).outcome is GateOutcome.ACCEPTED


def test_the_folder_is_asked(tmp_path: Path) -> None:
    assert gate.read(tmp_path) is None
    assert gate.enforce(tmp_path, GateConfig(), None, NullReporter()).outcome is GateOutcome.UNMEASURED
    (tmp_path / gate.REPORT).write_text(json.dumps({"metrics": SOUND | {"heldout_accuracy_low": 0.4}}))
    with pytest.raises(BadInput, match="not above chance") as caught:
        gate.enforce(tmp_path, GateConfig(), None, NullReporter())
    assert "accept_reward_model" in caught.value.next_step
    assert gate.enforce(tmp_path, GateConfig(), WHY, NullReporter()).outcome is GateOutcome.ACCEPTED


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"metrics": 3}'])
def test_a_report_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / gate.REPORT).write_text(text)
    with pytest.raises(StageError, match="cannot be read"):
        gate.read(tmp_path)
