"""The gate before PPO: is this reward model good enough to be optimised against?

A policy finds whatever a reward model gets wrong, so a model that is no better than a coin, far from
what annotators agree on, or mostly a measure of length is refused. The decision is pure: what the reward
stage measured (flat numbers, as on the model version and in its report) against the settings. The REST
door asks it before a job exists, the PPO stage asks it again before it loads a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from alignment.shared.config import GateConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter
from alignment.shared.sentence import Sentence, in_turn

REPORT = "reward_report.json"  # beside the model's weights
PAGE = "reward_report.html"  # the same for people
FEWEST_PROMPTS = 10  # held out, below which an interval means nothing
HOW = Sentence(
    "gate-overrule",
    'To use it all the same, say why in the setting accept_reward_model = "...": the reason is recorded.',
)


class GateOutcome(StrEnum):
    """What the gate says."""

    PASSED = "passed"  # measured, and good enough
    UNMEASURED = "unmeasured"  # no report, as for a model from elsewhere, and the settings let it through
    ACCEPTED = "accepted"  # refused, and somebody took it upon themselves
    REFUSED = "refused"


@dataclass(frozen=True)
class Decision:
    outcome: GateOutcome
    reasons: tuple[Sentence, ...]  # why it would be refused; of UNMEASURED, what is not known
    accepted_because: str | None = None

    def record(self) -> dict[str, Any]:
        """As it stands in a job's result."""
        return {
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "accepted_because": self.accepted_because,
        }

    @property
    def words(self) -> Sentence:
        """One or two sentences for an event or an error."""
        if self.outcome is GateOutcome.PASSED:
            return Sentence("gate-passed", "The reward model passed the gate.")
        why = in_turn(self.reasons)
        if self.outcome is not GateOutcome.ACCEPTED:
            return why
        english = "The gate refuses this reward model: %(why)s It is used all the same, because: %(because)s"
        return Sentence("gate-accepted", english, why=why, because=self.accepted_because)


def decide(measured: Mapping[str, Any] | None, settings: GateConfig, accept: str | None = None) -> Decision:
    """`measured`: the numbers of the reward stage's report; None where there is no report."""
    if measured is None:
        return _unmeasured(settings, accept)
    reasons = tuple(refusals(measured, settings))
    if not reasons:
        return Decision(GateOutcome.PASSED, ())
    return Decision(GateOutcome.ACCEPTED if accept else GateOutcome.REFUSED, reasons, accept)


def refusals(measured: Mapping[str, Any], settings: GateConfig) -> list[Sentence]:
    """Every reason against the model; empty when it passes. A number that is missing gives no reason but the first."""
    accuracy = _number(measured, "heldout_accuracy")
    low, high = _number(measured, "heldout_accuracy_low"), _number(measured, "heldout_accuracy_high")
    if accuracy is None or low is None or high is None:
        english = "Its held-out accuracy is unknown: no comparison was held out. Raise heldout_fraction or rank more."
        return [Sentence("gate-accuracy-unknown", english)]
    found: list[Sentence] = []
    prompts = _number(measured, "heldout_prompts")
    if prompts is not None and prompts < FEWEST_PROMPTS:
        english = "Only %(n)s held-out prompts measure it, %(least)s are the least. Rank more prompts."
        found.append(Sentence("gate-few-prompts", english, n=f"{prompts:.0f}", least=FEWEST_PROMPTS))
    if low <= 0.5:
        english = "Its held-out accuracy of %(accuracy)s (%(low)s to %(high)s) is not above chance with its interval."
        found.append(
            Sentence("gate-chance", english, accuracy=_percent(accuracy), low=_percent(low), high=_percent(high))
        )
    found += _below_ceiling(measured, accuracy, settings.min_ceiling_share)
    if low > 0.5 and (why := mostly_length(measured, settings)):
        found.append(why)
    return found


def read(folder: Path) -> dict[str, Any] | None:
    """The numbers of the report in a model's folder; None where there is none.

    Raises BadInput for a report that cannot be read.
    """
    try:
        report = json.loads((folder / REPORT).read_bytes())
        return dict(report["metrics"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            Sentence(
                "report-unreadable", "%(folder)s cannot be read (%(error)s).", folder=folder / REPORT, error=error
            ),
            Sentence("train-reward-again", "Train the reward model again."),
        ) from error


def enforce(folder: Path, settings: GateConfig, accept: str | None, reporter: Reporter) -> Decision:
    """The decision on the model in `folder`, noted where it is no plain pass.

    Raises BadInput with the reasons when it is refused.
    """
    decision = decide(read(folder), settings, accept)
    if decision.outcome is GateOutcome.REFUSED:
        raise BadInput(
            Sentence("gate-refuses", "The gate refuses the reward model: %(words)s", words=decision.words), HOW
        )
    return noted(decision, reporter)


def noted(decision: Decision, reporter: Reporter) -> Decision:
    """The decision, which the run's reader is told unless it is a plain pass."""
    if decision.outcome is not GateOutcome.PASSED:
        reporter.note(decision.words, level="warning")
    return decision


def _unmeasured(settings: GateConfig, accept: str | None) -> Decision:
    reason = Sentence(
        "gate-knows-nothing",
        "Nothing is known of how good this reward model is: its folder holds no %(report)s.",
        report=REPORT,
    )
    if settings.unmeasured == "allow":
        return Decision(GateOutcome.UNMEASURED, (reason,), accept)
    return Decision(GateOutcome.ACCEPTED if accept else GateOutcome.REFUSED, (reason,), accept)


def _below_ceiling(measured: Mapping[str, Any], accuracy: float, share: float) -> list[Sentence]:
    """Chance-corrected, and against the low end of what annotators reach, since that is uncertain itself."""
    ceiling, low = _number(measured, "annotator_agreement"), _number(measured, "annotator_agreement_low")
    if ceiling is None or low is None or low <= 0.5:
        return []
    needed = 0.5 + share * (low - 0.5)
    if accuracy >= needed:
        return []
    english = (
        "It is right in %(accuracy)s where annotators agree in %(ceiling)s: at least %(needed)s is asked, which is "
        "%(share)s of the way from chance to the low end of their agreement (%(low)s)."
    )
    return [
        Sentence(
            "gate-below-people",
            english,
            accuracy=_percent(accuracy),
            ceiling=_percent(ceiling),
            needed=_percent(needed),
            low=_percent(low),
            share=f"{share:.0%}",
        )
    ]


def mostly_length(measured: Mapping[str, Any], settings: GateConfig) -> Sentence | None:
    """Why the model counts as a measure of length, or None.

    Either less than a set share of its gain over chance is left once length is controlled; or nothing is
    surely left (the interval reaches chance) and always preferring the longer, or the shorter, does as well.
    """
    accuracy, controlled = (_number(measured, name) for name in ("heldout_accuracy", "length_controlled_accuracy"))
    if accuracy is None or controlled is None:
        return None
    before, after, share = _percent(accuracy), _percent(controlled), settings.min_length_controlled_share
    if controlled - 0.5 < share * (accuracy - 0.5):
        english = (
            "It is mostly length: with length controlled its accuracy falls from %(accuracy)s to %(controlled)s, and "
            "less than %(share)s of its gain over chance is left."
        )
        return Sentence("gate-mostly-length", english, accuracy=before, controlled=after, share=f"{share:.0%}")
    low, longer = (_number(measured, name) for name in ("length_controlled_accuracy_low", "longer_rule_accuracy"))
    if low is None or longer is None or low > 0.5 or max(longer, 1 - longer) < accuracy:
        return None
    english = (
        "It may be nothing but length: a rule of length alone is right in %(rule)s, and with length controlled its "
        "accuracy falls from %(accuracy)s to %(controlled)s, of which chance is not excluded (%(low)s at the low end)."
    )
    rule = _percent(max(longer, 1 - longer))
    return Sentence("gate-only-length", english, rule=rule, accuracy=before, controlled=after, low=_percent(low))


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _number(measured: Mapping[str, Any], name: str) -> float | None:
    value = measured.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
