"""What PPO adjusts and watches beside the weights: KL coefficient, score scale, average, alarms, pretraining data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from alignment.models.load import context_length, read_score_scale
from alignment.ppo.alarms.monitor import Alarm, Monitor
from alignment.ppo.controllers import KLController, ScoreScaler
from alignment.ppo.evaluation import Evaluation, bounds_of, standings
from alignment.ppo.learner import WeightAverage
from alignment.ppo.prompt_set import EndlessBatches
from alignment.ppo.ptx import PretrainingMix, examples_a_step, read_rows
from alignment.ppo.roles import Roles
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import BadInput
from alignment.shared.events import Reporter
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PPOInputs


@dataclass(frozen=True)
class Adaptation:
    """`state` is all of it but tensors and generators, as JSON types."""

    kl: KLController
    scaler: ScoreScaler
    monitor: Monitor
    average: WeightAverage | None
    keep_average: bool
    pretraining: PretrainingMix | None

    @classmethod
    def of(cls, roles: Roles, config: PPOConfig | RLOOConfig, inputs: PPOInputs, reporter: Reporter) -> Adaptation:
        """As the settings say. BadInput for pretraining data that is missing, unused or unreadable."""
        scale = read_score_scale(inputs.reward_model)
        idle = config.critic_warmup if isinstance(config, PPOConfig) else 0
        monitor = Monitor(config.alarms, bounds_of(config), scale.std if scale else None, idle)
        if isinstance(config, RLOOConfig):
            return cls(KLController(config.kl_coef), roles.scaler, monitor, None, False, None)
        target = config.kl_target if config.kl_controller == "adaptive" else None
        return cls(
            KLController(config.kl_coef, target, config.kl_horizon),
            roles.scaler,
            monitor,
            None if config.ema_decay is None else WeightAverage(roles.policy, config.ema_decay),
            config.keep_ema,
            _pretraining(roles, config, inputs, reporter),
        )

    def follow(self, number: int, kl: float, episodes: int) -> None:
        """After an update: the coefficient moves, the average follows. The KL of a policy that does not learn yet is 0,
        and would lower the coefficient before anything could answer to it."""
        if number > self.monitor.idle:
            self.kl.observe(kl, episodes)
        if self.average is not None:
            self.average.follow()

    def shown(self) -> AbstractContextManager[None]:
        """Inside it, the policy is the one that is evaluated and kept."""
        return self.average.applied() if self.average is not None and self.keep_average else nullcontext()

    def observe(self, curve: Sequence[dict[str, float]], evaluations: Sequence[Evaluation], reporter: Reporter) -> None:
        """Say the alarms that the last update raises."""
        for alarm in self.monitor.observe(curve, standings(evaluations, self.monitor.bounds)):
            reporter.note(alarm.sentence, level="warning")

    def stops(self, evaluations: Sequence[Evaluation]) -> Sentence | None:
        """Why training ends before the next update; None: it goes on."""
        return self.monitor.stops(standings(evaluations, self.monitor.bounds))

    def state(self) -> dict[str, Any]:
        waiting = None if self.pretraining is None else self.pretraining.order.waiting
        alarms = [alarm.state() for alarm in self.monitor.alarms]
        return {"kl": self.kl.state(), "scaler": self.scaler.state(), "alarms": alarms, "waiting": waiting}

    def load(self, state: dict[str, Any]) -> None:
        self.kl.load(state["kl"])
        self.scaler.load(state["scaler"])
        self.monitor.alarms[:] = [Alarm.load(alarm) for alarm in state["alarms"]]
        if self.pretraining is not None:
            self.pretraining.order.waiting = state["waiting"]


def _pretraining(roles: Roles, config: PPOConfig, inputs: PPOInputs, reporter: Reporter) -> PretrainingMix | None:
    if problem := config.pretraining_problem(inputs.pretraining is not None):
        raise BadInput(problem, Sentence("both-or-neither", "Give both or neither."))
    if inputs.pretraining is None:
        return None
    limit = min(config.max_length, context_length(roles.policy) or config.max_length)
    rows = read_rows(roles.tokenizer, inputs.pretraining, limit, reporter, config.template_refusals)
    numbers, generator = [[i] for i in range(len(rows))], torch.Generator().manual_seed(config.seed)
    order = EndlessBatches(numbers, examples_a_step(config), generator)
    pad_id = roles.tokenizer.pad_token_id
    return PretrainingMix(roles.policy, rows, order, pad_id, config.micro_batch_size, roles.team)
