"""Settings of the baselines beside PPO: RLOO and best-of-n."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from alignment.shared.policy.ppo_config import PolicyConfig, require_groups
from alignment.shared.settings import Count, Positive, RowRules


class RLOOConfig(PolicyConfig):
    """REINFORCE with the other responses to the same prompt as baseline (Ahmadian et al. 2024)."""

    responses_per_prompt: int = Field(default=4, ge=2, le=64, description="k: each is judged against the k - 1 others.")
    inner_epochs: Count = Field(default=1, description="Passes over the episodes of one update.")

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        require_groups(self.batch_size, self.responses_per_prompt)
        return self


class BestOfNConfig(RowRules):
    """No training: of n responses the one that the reward model likes best (Stiennon et al. 2020, 4.3)."""

    responses_per_prompt: int = Field(default=16, ge=2, le=1024, description="n.")
    temperature: Positive = Field(default=1.0, description="Divides the logits.")
    max_response_length: Count = Field(default=128, description="Most tokens of a response.")
    max_length: Count = Field(default=1024, description="Tokens of prompt and response together.")
    batch_size: Count = Field(default=64, description="Sequences that are generated together.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds the draws.")
