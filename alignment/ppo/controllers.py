"""What PPO adjusts from update to update: the KL coefficient, and the scale of the scores.

Small state machines without tensors; `state` and `load` carry them through a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from alignment.models.load import read_score_scale
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import BadInput
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PPOInputs

MOST_ERROR = 0.2  # of the proportional error, either way (Ziegler et al. 2019, 2.2)


class KLController:
    """The coefficient of the KL: fixed, or moved so that the measured KL comes near a target.

    Ziegler et al. 2019, section 2.2: e = clip(KL / target - 1, -0.2, 0.2), coef <- coef * (1 + K e). K is
    episodes / horizon, as in the paper's released code.
    """

    def __init__(self, coef: float, target: float | None = None, horizon: int = 10_000) -> None:
        self.coef, self.target, self.horizon = coef, target, horizon

    def observe(self, kl: float, episodes: int) -> None:
        """Move after an update of `episodes` responses whose mean KL was `kl`; a fixed coefficient stays."""
        if self.target is not None:
            error = min(MOST_ERROR, max(-MOST_ERROR, kl / self.target - 1.0))
            self.coef *= 1.0 + error * episodes / self.horizon

    def state(self) -> dict[str, float]:
        return {"coef": self.coef}

    def load(self, state: dict[str, float]) -> None:
        self.coef = state["coef"]


class ScoreScaler:
    """Mean and deviation that scores are normalised by: none, the reward model's own, or those of this run so far.

    Evaluations at held-out prompts are compared with one another, so they keep the scale of the first of them
    (`fixed`) while a running scale moves on.
    """

    def __init__(self, std: float = 1.0, *, running: bool = False) -> None:
        self.std, self.running = std, running
        self.start: tuple[float, float] | None = None if running else (0.0, std)
        self.count, self.mean, self.squares = 0, 0.0, 0.0  # Welford's, of all rollouts

    def observe(self, scores: Sequence[float]) -> None:
        """Take in the scores of a rollout (or of the first evaluation)."""
        if self.running:
            for score in scores:
                self.count += 1
                ahead = score - self.mean
                self.mean += ahead / self.count
                self.squares += ahead * (score - self.mean)
            self.start = self.start or self.current()

    def current(self) -> tuple[float, float]:
        """Mean and deviation for the rollout that was seen last. Its reward model's mean is taken off already."""
        if not self.running:
            return 0.0, self.std
        return self.mean, max(math.sqrt(self.squares / max(self.count - 1, 1)), 1e-6)

    def fixed(self, scores: Sequence[float]) -> tuple[float, float]:
        """Mean and deviation for an evaluation, whose `scores` are the first to be seen where nothing was before."""
        if self.start is None:
            self.observe(scores)
        assert self.start is not None, "an evaluation has at least one score"
        return self.start

    def state(self) -> dict[str, Any]:
        return {"start": self.start, "count": self.count, "mean": self.mean, "squares": self.squares}

    def load(self, state: dict[str, Any]) -> None:
        self.start = state["start"] and (state["start"][0], state["start"][1])  # JSON makes a tuple a list
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]


def scaler_of(config: PPOConfig | RLOOConfig, inputs: PPOInputs) -> ScoreScaler:
    """How scores are normalised. BadInput where nobody measured the scale that was asked for."""
    if config.score_normalisation != "reference":
        return ScoreScaler(running=config.score_normalisation == "running")
    scale = read_score_scale(inputs.reward_model)
    if scale is None or scale.std <= 0:
        raise BadInput(
            Sentence(
                "no-reference-spread",
                "score_normalisation: %(reward_model)s does not say how its scores are spread on reference answers.",
                reward_model=inputs.reward_model,
            ),
            Sentence(
                "train-reward-or-running", "Train the reward model here, or set score_normalisation to 'running'."
            ),
        )
    return ScoreScaler(scale.std)
