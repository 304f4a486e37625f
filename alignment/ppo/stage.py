"""Stage 3: PPO against the reward model, on a KL leash to the SFT policy.

    python -m alignment ppo config.toml

The objective of Ziegler et al. 2019: the reward model's score of the whole response, less a KL
penalty on each token. The details follow Huang et al. 2024 ("The N+ implementation details of RLHF
with PPO"), with these departures: the score lands on the last token itself (advantages.py), the
critic reads the reward model's shifted scale from the start (forward.py), whitening is over the
whole batch, and the kept policy is chosen on held-out prompts (evaluation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alignment.data.batch import Rollout, Sequences
from alignment.ppo import loop as ppo_loop
from alignment.ppo.adaptation import Adaptation
from alignment.ppo.learner import Learner
from alignment.ppo.roles import ActorCritic, load_roles, record
from alignment.ppo.update import update
from alignment.shared.config import PPOConfig, Stage
from alignment.shared.events import Reporter, StageResult
from alignment.shared.stages import PPOInputs
from alignment.training.team import Team


def train(config: PPOConfig, inputs: PPOInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Leave the policy that the rule keeps in `out_dir`; raises as `ppo.loop.train`."""
    return ppo_loop.train(Stage.PPO, PPO.start, config, inputs, out_dir, reporter)


@dataclass(frozen=True)
class PPO:
    """Learns with a critic, of each token (a ppo_loop.Method)."""

    roles: ActorCritic
    config: PPOConfig
    learners: Mapping[str, Learner]
    adaptation: Adaptation

    @classmethod
    def start(cls, config: PPOConfig, inputs: PPOInputs, reporter: Reporter, team: Team) -> PPO:
        roles = load_roles(config, inputs, team)
        critic_rate = config.critic_learning_rate or config.learning_rate
        policy = Learner.of(roles.policy, config.learning_rate, config, config.critic_warmup, team)
        learners = {"policy": policy, "critic": Learner.of(roles.critic, critic_rate, config, 0, team)}
        return cls(roles, config, learners, Adaptation.of(roles, config, inputs, reporter))

    @property
    def replies(self) -> int:
        return self.config.responses_per_prompt

    def record(self, sequences: Sequences, sampled_logprobs: Tensor) -> Rollout:
        """With what the critic expects of each token."""
        return record(self.roles, sequences, self.config, sampled_logprobs)

    def update(self, rollout: Rollout, shuffling: torch.Generator) -> dict[str, float]:
        """KL-shaped rewards become advantages; a few clipped passes over them."""
        policy, critic = self.learners["policy"], self.learners["critic"]
        coef, pretraining = self.adaptation.kl.coef, self.adaptation.pretraining
        return update(
            self.roles, policy, critic, rollout, self.config, shuffling, kl_coef=coef, pretraining=pretraining
        )
