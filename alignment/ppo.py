"""Stage 3: PPO against the reward model, on a KL leash to the SFT policy.

    python -m alignment ppo config.toml

The objective of Ziegler et al. 2019: the reward model's score of the whole response, less a KL
penalty on each token. The details follow Huang et al. 2024 ("The N+ implementation details of RLHF
with PPO"), with these departures: the score lands on the last token itself (advantages.py), the
critic reads the reward model's shifted scale from the start (forward.py), whitening is over the
whole batch, and the kept policy is chosen on held-out prompts (selection.py).
"""

from __future__ import annotations

from pathlib import Path

import torch

from alignment import gate, models
from alignment.config import PPOConfig, Stage
from alignment.events import Meter, Reporter, StageError, StageResult
from alignment.outcome import check, rescued, result_of, show, tell, write_files
from alignment.ppo_state import State
from alignment.ppo_update import Learner, update
from alignment.prompt_set import EndlessBatches, read_prompt_set
from alignment.resume import Checkpoints
from alignment.roles import load_roles, record, reply
from alignment.selection import Keeper, bounds_of, look
from alignment.stages import PPOInputs
from alignment.steering import Steering


def train(config: PPOConfig, inputs: PPOInputs, out_dir: Path, reporter: Reporter) -> StageResult:
    """Train the policy and leave the one that the rule keeps in `out_dir`.

    Raises StageError: BAD_INPUT for models or prompts that cannot work or a reward model that the gate
    refuses, DIVERGED for numbers that are none or a policy that ran away from the reference. Where a later
    policy than the SFT policy was kept before it diverged, that one is the result instead;
    details["stopped"] says why training ended early. Raises Paused when that was asked for.
    """
    decision = gate.enforce(inputs.reward_model, config.gate, config.accept_reward_model)
    if decision.outcome is not gate.Outcome.PASSED:
        reporter.note(decision.words, level="warning")
    torch.manual_seed(config.seed)
    roles = load_roles(config, inputs)
    prompts = read_prompt_set(roles, config, inputs.prompts, reporter)
    policy = Learner.of(roles.policy, config.learning_rate, config)
    critic = Learner.of(roles.critic, config.critic_learning_rate or config.learning_rate, config)
    sampling = torch.Generator(roles.device).manual_seed(config.seed)
    shuffling = torch.Generator().manual_seed(config.seed)
    batches = EndlessBatches(prompts.train, config.batch_size, shuffling)
    keeper = Keeper(roles, bounds_of(config))
    curve: list[dict[str, float]] = []
    steering = Steering.of(roles, config, inputs, reporter)
    state = State(policy, critic, sampling, batches, keeper, curve, steering)
    checkpoints = Checkpoints.of(Stage.PPO, config, inputs, reporter)
    if newest := checkpoints.newest():
        state.load(newest)
        tell(reporter, roles, prompts, config, keeper.looks)  # whoever listened may have died before it heard the last
    else:
        keeper.add(look(roles, prompts.heldout, 0, config))
    meter = Meter(reporter, "ppo", config.updates, len(curve))
    stopped: str | None = None

    try:
        for number in range(len(curve) + 1, config.updates + 1):
            if stopped := steering.stops(keeper.looks):
                break
            # 1. The policy answers a batch of prompts.
            sequences, sampled = reply(roles, next(batches), config, sampling)
            # 2. The reward model scores the responses; policy, reference and critic say what they expect.
            rollout = record(roles, sequences, config, sampled)
            # 3. KL-shaped rewards become advantages; a few clipped passes over them.
            coef, pretraining = steering.kl.coef, steering.pretraining
            metrics = update(roles, policy, critic, rollout, config, shuffling, kl_coef=coef, pretraining=pretraining)
            check(metrics, number, config)
            steering.follow(metrics["kl"], config.batch_size)
            # 4. Now and then the policy is looked at on held-out prompts, and kept if it is better.
            if number % config.evaluate_every == 0 or number == config.updates:
                with steering.shown():
                    entry = keeper.add(look(roles, prompts.heldout, number, config))
                metrics |= entry.metrics()
                tell(reporter, roles, prompts, config, [keeper.looks[0], entry])
            curve.append({"update": float(number), **metrics})
            reporter.samples(number, show(roles, rollout))
            steering.listen(curve, keeper.looks, reporter)
            meter.step(metrics)
            # 5. From time to time all that the next update depends on is saved.
            checkpoints.border(number, config.updates, state.save)
    except StageError as error:
        stopped = rescued(error, keeper)
    if stopped:
        reporter.note(stopped, level="warning")
    keeper.save(out_dir, models.saved_type(config.save_dtype, inputs.model))
    alarms = steering.monitor.alarms
    result = result_of("ppo", roles, prompts, config, keeper, curve, alarms, stopped, decision)
    write_files(out_dir, roles, prompts, keeper, result, reporter)
    return result
