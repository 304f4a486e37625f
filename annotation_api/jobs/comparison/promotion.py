"""May a challenger take the champion's place? One rule for each kind of model, on what held-out data and people say.

A difference counts where its 95 % interval leaves out 0, which follows from the intervals of both sides (Newcombe
1998, method 10, as if they were measured apart: careful where both judge the same prompts). What a policy was trained
to please, the reward model, does not promote it: people do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from alignment.shared.sentence import Sentence
from annotation_api.db.kinds import ModelKind
from annotation_api.jobs.comparison.schemas import ComparedNumber, Promotion

NUMBER = {
    ModelKind.REWARD: Sentence("measured-heldout-accuracy", "heldout_accuracy"),
    ModelKind.POLICY: Sentence("measured-human-wins", "human_win_rate"),
}
CHAMPION, CHALLENGER = Sentence("the-champion", "champion"), Sentence("the-challenger", "challenger")
RULE = {
    ModelKind.REWARD: "A reward model is promoted if it passes the gate and its held-out accuracy is higher by more "
    "than chance.",
    ModelKind.POLICY: "A policy is promoted if people prefer it to its SFT policy more often than the champion to its "
    "own, by more than chance.",
}
Numbers = Mapping[str, ComparedNumber]


def promotion(champion: tuple[ModelKind, Numbers], challenger: tuple[ModelKind, Numbers]) -> Promotion | None:
    """None for models of two kinds, or of one that has no rule."""
    kind = challenger[0]
    if champion[0] is not kind or kind not in RULE:
        return None
    problem = _problem(kind, champion[1], challenger[1])
    return Promotion(rule=RULE[kind], met=problem is None, because=problem or _gain(kind, champion[1], challenger[1]))


def _problem(kind: ModelKind, old: Numbers, new: Numbers) -> str | None:
    """Why not."""
    name = NUMBER[kind]
    for side, numbers in ((CHAMPION, old), (CHALLENGER, new)):
        if name not in numbers or numbers[name].low is None:
            english = "The %(side)s has no %(name)s with an interval yet."
            return Sentence("no-interval-yet", english, side=side, name=name)
    if kind is ModelKind.REWARD and not new.get("passes_the_gate", ComparedNumber(value=0.0)).value:
        return Sentence("gate-refuses-challenger", "The gate refuses the challenger.")
    gain, least = new[name].value - old[name].value, _least(old[name], new[name])
    if least <= 0:
        english = "%(name)s is %(gain)s, which may be chance: its 95 %% interval begins at %(least)s."
        return Sentence("gain-may-be-chance", english, name=name, gain=f"{gain:+.3f}", least=f"{least:+.3f}")
    return None


def _gain(kind: ModelKind, old: Numbers, new: Numbers) -> str:
    name = NUMBER[kind]
    least = _least(old[name], new[name])
    gain, english = new[name].value - old[name].value, "%(name)s is %(gain)s, at least %(least)s by its 95 %% interval."
    return Sentence("gain-is-sure", english, name=name, gain=f"{gain:+.3f}", least=f"{least:+.3f}")


def _least(old: ComparedNumber, new: ComparedNumber) -> float:
    """The lower end of the interval of the difference."""
    assert new.low is not None, "only numbers with an interval are compared"
    assert old.high is not None, "only numbers with an interval are compared"
    return new.value - old.value - math.hypot(new.value - new.low, old.high - old.value)
