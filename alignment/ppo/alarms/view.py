"""What the rules of the alarms read after an update, and what a rule says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alignment.shared.policy.guard_config import AlarmConfig
from alignment.shared.sentence import Sentence

SURE = 2.0  # standard errors by which a held-out objective must have fallen


class Bounds(NamedTuple):
    """Beyond these no policy is kept."""

    max_kl: float  # nats a response, to the SFT policy
    min_specificity: float  # share of what the SFT policy's replies told of their prompts


@dataclass(frozen=True)
class Standing:
    """An evaluation at held-out prompts, as far as the monitors use it."""

    update: int
    objective: float  # mean of learned score less the price of the KL
    behind: float  # how far that is below the best evaluation's, prompt by prompt
    error: float  # standard error of `behind`
    kept: bool  # the rule took this policy in place of the one that was kept
    specificity: float = 1.0  # what its replies tell of their prompts, as a share of what the first evaluation's told
    fell: bool = False  # that is less, by more than the noise


class Diagnosis(NamedTuple):
    """An alarm without its name and time."""

    found: Sentence
    likely: Sentence
    advice: Sentence


@dataclass(frozen=True)
class View:
    """What the rules read, after an update."""

    curve: Sequence[Mapping[str, float]]
    evaluations: Sequence[Standing]
    config: AlarmConfig
    bounds: Bounds
    reference_std: float | None  # of the reward model's scores on its reference answers

    def first(self, name: str) -> float | None:
        """Mean over the first window; None until a second window can stand beside it."""
        rows = [row[name] for row in self.curve[: self.config.window] if name in row]
        return sum(rows) / len(rows) if rows and len(self.curve) >= 2 * self.config.window else None

    def now(self, name: str) -> float | None:
        """Mean over the last window; None until there is one."""
        rows = [row[name] for row in self.curve[-self.config.window :] if name in row]
        return sum(rows) / len(rows) if rows and len(self.curve) >= self.config.window else None

    def both(self, name: str) -> tuple[float, float] | None:
        """First and last window, where both exist."""
        first, now = self.first(name), self.now(name)
        return None if first is None or now is None else (first, now)
