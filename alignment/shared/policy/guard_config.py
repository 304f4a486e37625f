"""The settings of what guards a PPO run: the gate before it, the alarms while it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignment.shared.settings import Count, Fraction, Positive, StageSettings

AlarmName = Literal[
    "over_optimisation",  # the reward rises, what it should stand for does not
    "beyond_reference",  # scores higher than the reward model ever saw in training
    "kl_budget",  # the policy is further from the SFT policy than may be kept
    "length",  # responses have grown or shrunk
    "repetition",  # responses repeat themselves
    "sameness",  # responses tell less of their prompts
    "entropy",  # the policy says the same every time
    "policy_clipping",  # steps are too large
    "value_clipping",  # the critic is held back
    "critic",  # the critic explains nothing
    "disagreement",  # the members of the ensemble disagree more than at the start
    "missing_eos",  # responses no longer end
    "engine_gap",  # the rollout engine samples from another distribution
]


class GateConfig(StageSettings):
    """When PPO refuses a reward model (gate.py). Chance is 0.5; what a model has above it is its gain."""

    min_ceiling_share: Fraction = Field(
        default=0.5, description="Least gain, as a share of the low end of what annotators' agreement has above chance."
    )
    min_length_controlled_share: Fraction = Field(
        default=0.5, description="Least share of the gain that must be left once length cannot help."
    )
    unmeasured: Literal["allow", "refuse"] = Field(
        default="allow", description="What to do with a model whose folder holds no report, as one from elsewhere."
    )


class AlarmConfig(StageSettings):
    """When the monitors speak (alarms.py). "At first" is the mean of the first `window` updates."""

    window: Count = Field(default=4, description="Updates over which a metric is averaged before it is judged.")
    beyond_reference: Positive = Field(
        default=2.0, description="Mean score this many deviations above the answers that the reward model was set to."
    )
    length: float = Field(
        default=1.5, gt=1, allow_inf_nan=False, description="Mean length this many times what it was at first."
    )
    repetition: Fraction = Field(default=0.15, description="Share of repeated n-grams this far above that at first.")
    sameness: Fraction = Field(
        default=0.9, description="What replies tell of their prompts below this share of what the SFT policy's told."
    )
    entropy: Fraction = Field(default=0.3, description="Entropy below this share of what it was at first.")
    policy_clipping: Fraction = Field(default=0.3, description="Share of tokens whose ratio is clipped.")
    value_clipping: Fraction = Field(default=0.5, description="Share of values that are clipped.")
    critic_grace: Count = Field(default=10, description="Updates in which a critic may explain nothing.")
    disagreement: float = Field(
        default=1.5, gt=1, allow_inf_nan=False, description="Disagreement this many times what it was at first."
    )
    missing_eos: Fraction = Field(default=0.15, description="Share of unended responses this far above that at first.")
    engine_gap: Positive = Field(
        default=0.1,
        description="Nats by which the rollout engine and our forward pass differ about a token, on average.",
    )
    stop_on: tuple[AlarmName, ...] = Field(default=(), description="Alarms that end training, the kept policy stays.")
    patience: Count | None = Field(
        default=None, description="Looks in a row that keep no new policy after which training ends; unset: none."
    )
