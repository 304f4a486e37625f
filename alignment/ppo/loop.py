"""The loop that PPO and its baselines share: rollout, update, evaluate, save. What differs is a `Method`.

Several processes run it side by side (team.py); the first one reports and writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from alignment.data.batch import Rollout, Sequences
from alignment.ppo.adaptation import Adaptation
from alignment.ppo.evaluation import Selection, bounds_of, evaluate
from alignment.ppo.learner import Learner
from alignment.ppo.prompt_set import EndlessBatches, read_prompt_set
from alignment.ppo.result import check, report_evaluations, rescued, result_of, sample_rows, write_files
from alignment.ppo.roles import Roles, reply
from alignment.ppo.state import TrainingState
from alignment.rollout.streams import EVALUATIONS, Streams
from alignment.shared import gate
from alignment.shared.config import Baseline, PPOConfig, RLOOConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import Meter, Reporter, StageResult
from alignment.shared.sentence import Sentence
from alignment.shared.stages import PPOInputs
from alignment.training.beside import beside
from alignment.training.checkpoints import Checkpoints
from alignment.training.shards import is_shared
from alignment.training.team import Team, together

Config = TypeVar("Config", bound=PPOConfig | RLOOConfig)


class Method(Protocol):
    """What is each algorithm's own: its models, ready to train, and how it learns from a rollout."""

    @property
    def roles(self) -> Roles: ...

    @property
    def learners(self) -> Mapping[str, Learner]:
        """By the names that they have in a checkpoint."""

    @property
    def adaptation(self) -> Adaptation: ...

    @property
    def replies(self) -> int:
        """To each prompt of a batch; they stand side by side in it."""

    def record(self, sequences: Sequences, sampled_logprobs: Tensor) -> Rollout: ...

    def update(self, rollout: Rollout, shuffling: torch.Generator) -> dict[str, float]: ...


def train(
    stage: Stage | Baseline,
    start: Callable[[Config, PPOInputs, Reporter, Team], Method],
    config: Config,
    inputs: PPOInputs,
    out_dir: Path,
    reporter: Reporter,
) -> StageResult:
    """Train the policy and leave the one that the rule keeps in `out_dir`; `start` loads the models.

    Raises BadInput for models or prompts that cannot work or a reward model that the gate
    refuses, Diverged for numbers that are none or a policy that ran away from the reference. Where a later
    policy than the SFT policy was kept before it diverged, that one is the result instead;
    details["stopped"] says why training ended early. Raises Paused when that was asked for.
    """
    with together() as team:
        return _train(stage, start, config, inputs, out_dir, team.reporter(reporter), team)


def _train(
    stage: Stage | Baseline,
    start: Callable[[Config, PPOInputs, Reporter, Team], Method],
    config: Config,
    inputs: PPOInputs,
    out_dir: Path,
    reporter: Reporter,
    team: Team,
) -> StageResult:
    decision = gate.enforce(inputs.reward_model, config.gate, config.accept_reward_model, reporter)
    torch.manual_seed(config.seed)
    method = start(config, inputs, reporter, team)
    roles, adaptation = method.roles, method.adaptation
    prompts = read_prompt_set(roles, config, inputs.prompts, reporter)
    streams = Streams(config.seed, torch.Generator(roles.device).manual_seed(config.seed))
    shuffling = torch.Generator().manual_seed(config.seed)
    batches = EndlessBatches(prompts.train, config.batch_size // method.replies, shuffling)
    selection = Selection(roles, bounds_of(config))
    curve: list[dict[str, float]] = []
    state = TrainingState(method.learners, streams, batches, selection, curve, adaptation)
    checkpoints = Checkpoints.of(stage, config, inputs, reporter, team)
    if newest := checkpoints.newest():
        state.load(newest)
        # Whoever listened may have died before it heard the last.
        report_evaluations(reporter, roles, prompts, config, selection.evaluations)
    else:
        selection.add(evaluate(roles, prompts.heldout, 0, config, streams.of(EVALUATIONS)))
    meter = Meter(reporter, stage.value, config.updates, len(curve))
    stopped: Sentence | None = None

    with beside(checkpoints, shares=is_shared(roles.policy)) as saving:
        try:
            for number in range(len(curve) + 1, config.updates + 1):
                if stopped := adaptation.stops(selection.evaluations):
                    break
                # 1. The policy answers a batch of prompts.
                asked = [ids for ids in next(batches) for _ in range(method.replies)]
                sequences, sampled = reply(roles, asked, config, streams.shared, streams.of(number))
                # 2. The reward model scores the responses; the other models say what they expect of them.
                rollout = method.record(sequences, sampled)
                # 3. Scores become advantages; a few clipped passes over them.
                metrics = method.update(rollout, shuffling)
                check(metrics, number, config)
                adaptation.follow(number, metrics["kl"], config.batch_size)
                # 4. Now and then the policy is evaluated on held-out prompts, and kept if it is better.
                if number % config.evaluate_every == 0 or number == config.updates:
                    with adaptation.shown():
                        draws = streams.of(EVALUATIONS)
                        entry = selection.add(evaluate(roles, prompts.heldout, number, config, draws))
                    metrics |= entry.metrics()
                    report_evaluations(reporter, roles, prompts, config, [selection.evaluations[0], entry])
                curve.append({"update": float(number), **metrics})
                reporter.samples(number, sample_rows(roles, rollout))
                adaptation.observe(curve, selection.evaluations, reporter)
                meter.step(metrics)
                # 5. From time to time all that the next update depends on is saved.
                saving.border(number, config.updates, state.copied)
        except StageError as error:
            stopped = rescued(error, selection)
    if stopped:
        reporter.note(stopped, level="warning")
    selection.save(out_dir, config, inputs.model)
    result = result_of(
        stage.value, roles, prompts, config, selection, curve, adaptation.monitor.alarms, stopped, decision
    )
    if team.first:
        write_files(out_dir, roles, prompts, selection, result, reporter)
    return result
