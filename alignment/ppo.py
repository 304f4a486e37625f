"""Stage 3: PPO against the reward model, on a KL leash to the SFT policy.

    python -m alignment ppo config.toml

The objective of Ziegler et al. 2019: the reward model's score of the whole response, less a KL
penalty on each token. The details follow Huang et al. 2024 ("The N+ implementation details of RLHF
with PPO"), with these departures: the score lands on the last token itself (advantages.py), the
critic reads the reward model's shifted scale from the start (forward.py), whitening is over the
whole batch, and the kept policy is chosen on held-out prompts (selection.py). No pretraining mix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alignment import chat, gate, models
from alignment.batch import Rollout, Sequences
from alignment.config import PPOConfig, Stage
from alignment.events import ErrorKind, Meter, Reporter, StageError, StageResult
from alignment.generation import read_prompts
from alignment.ppo_state import EndlessBatches, State
from alignment.ppo_update import Learner, update
from alignment.records import Prompt, split_of
from alignment.resume import Checkpoints
from alignment.roles import Roles, load_roles, record, reply
from alignment.selection import Keeper, Look, look, rule
from alignment.stages import PPOInputs

EXPLODED = 5.0  # times max_kl: a rollout this far from the reference is lost, not exploring
SHOWN = 4  # rollout samples reported at each update
KEPT_SAMPLES = 24  # held-out prompts whose replies before and after stand in the result


@dataclass(frozen=True)
class PromptSet:
    """Prompts that fit, as records and as token ids, split by their text."""

    train: list[list[int]]
    heldout: list[list[int]]
    heldout_prompts: list[Prompt]  # the records behind `heldout`
    counts: dict[str, int]


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
    keeper = Keeper(roles, config.max_kl)
    curve: list[dict[str, float]] = []
    state = State(policy, critic, sampling, batches, keeper, curve)
    checkpoints = Checkpoints.of(Stage.PPO, config, inputs, reporter)
    if newest := checkpoints.newest():
        state.load(newest)
    else:
        keeper.add(look(roles, prompts.heldout, 0, config))
    meter = Meter(reporter, "ppo", config.updates, len(curve))
    stopped: str | None = None

    try:
        for number in range(len(curve) + 1, config.updates + 1):
            # 1. The policy answers a batch of prompts.
            sequences = reply(roles, next(batches), config, sampling)
            # 2. The reward model scores the responses; policy, reference and critic say what they expect.
            rollout = record(roles, sequences, config)
            # 3. KL-shaped rewards become advantages; a few clipped passes over them.
            metrics = update(roles, policy, critic, rollout, config, shuffling)
            _check(metrics, number, config)
            # 4. Now and then the policy is looked at on held-out prompts, and kept if it is better.
            if number % config.evaluate_every == 0 or number == config.updates:
                metrics |= keeper.add(look(roles, prompts.heldout, number, config)).metrics()
            curve.append({"update": float(number), **metrics})
            reporter.samples(number, show(roles, rollout))
            meter.step(metrics)
            # 5. From time to time all that the next update depends on is saved.
            checkpoints.border(number, config.updates, state.save)
    except StageError as error:
        stopped = _rescued(error, keeper)
        reporter.note(stopped, level="warning")
    kept = keeper.save(out_dir)
    return _result(roles, prompts, config, keeper, kept, curve, stopped, decision)


def read_prompt_set(roles: Roles, config: PPOConfig, path: Path, reporter: Reporter) -> PromptSet:
    """The file's prompts, each once, those that fit the models, split by text.

    Prompts are left out, counted and noted when prompt and longest response together exceed max_length
    or a model's context. Raises StageError(BAD_INPUT) when none is left to train on.
    """
    unique = {prompt.key: prompt for prompt in read_prompts(path)}
    limits = [models.context_length(m) for m in (roles.policy, roles.reward_model)]
    room = min([config.max_length, *(n for n in limits if n)]) - config.max_response_length
    encoded = [(prompt, chat.prompt_ids(roles.tokenizer, prompt)) for prompt in unique.values()]
    fitting = [(prompt, ids) for prompt, ids in encoded if len(ids) <= room]
    sides: dict[str, list[tuple[Prompt, list[int]]]] = {"train": [], "heldout": []}
    for prompt, ids in fitting:
        sides[split_of(prompt, config.heldout_fraction)].append((prompt, ids))
    counts = {
        "prompts": len(unique),
        "too_long": len(unique) - len(fitting),
        "train": len(sides["train"]),
        "heldout": len(sides["heldout"]),
    }
    _require_prompts(counts, room, config)
    _note_prompts(counts, room, config, reporter)
    heldout = sides["heldout"] or sides["train"][: config.batch_size]
    return PromptSet([ids for _, ids in sides["train"]], [ids for _, ids in heldout], [p for p, _ in heldout], counts)


def show(roles: Roles, rollout: Rollout) -> list[dict[str, Any]]:
    """A few rows of a rollout as text."""
    return [
        {"prompt": before, "response": after, "score": float(rollout.scores[row])}
        for row, (before, after) in enumerate(_texts(roles, rollout.sequences, SHOWN))
    ]


def _texts(roles: Roles, sequences: Sequences, rows: int) -> list[tuple[str, str]]:
    """Prompt and response of the first `rows` rows, decoded."""
    found = []
    for ids, start, length in zip(
        sequences.input_ids[:rows].tolist(),
        sequences.prompt_lengths[:rows].tolist(),
        sequences.response_lengths[:rows].tolist(),
        strict=True,
    ):
        response = ids[start : start + length]
        found.append((chat.decode(roles.tokenizer, ids[:start]), chat.decode(roles.tokenizer, response)))
    return found


def _result(
    roles: Roles,
    prompts: PromptSet,
    config: PPOConfig,
    keeper: Keeper,
    kept: Look,
    curve: list[dict[str, float]],
    stopped: str | None,
    decision: gate.Decision,
) -> StageResult:
    first = keeper.looks[0]
    metrics = {
        **kept.metrics(),
        "heldout_score_sft": float(first.scores.mean()),
        "chosen_update": float(kept.update),
        "updates": float(len(curve)),
    }
    details = {
        "gate": decision.record(),
        "rule": rule(config, len(prompts.heldout)),
        "counts": prompts.counts,
        "stopped": stopped,
        "curve": curve,
        "checkpoints": [
            {"step": entry.update, "metrics": entry.metrics(), "chosen": entry is kept} for entry in keeper.looks
        ],
        "samples": _before_and_after(roles, prompts, first, kept),
    }
    return StageResult("ppo", metrics, details)


def _before_and_after(roles: Roles, prompts: PromptSet, first: Look, kept: Look) -> list[dict[str, Any]]:
    """Held-out prompts with the SFT policy's and the kept policy's reply, and what the reward model said."""
    before, after = (_texts(roles, entry.sequences, KEPT_SAMPLES) for entry in (first, kept))
    return [
        {
            "prompt": prompt.text,
            "criterion": prompt.criterion,
            "before": old,
            "after": new,
            "score_before": float(first.scores[row]),
            "score_after": float(kept.scores[row]),
        }
        for row, (prompt, (_, old), (_, new)) in enumerate(zip(prompts.heldout_prompts, before, after, strict=False))
    ]


def _rescued(error: StageError, keeper: Keeper) -> str:
    """What to say of a run that diverged after a trained policy was kept; any other error is raised again."""
    if error.kind is not ErrorKind.DIVERGED or keeper.kept is None or not keeper.kept.update:
        raise error
    return (
        f"{error.cause} Training stopped there; the result is the policy of update {keeper.kept.update}, kept before. "
        f"To train further: {error.next_step}"
    )


def _check(metrics: dict[str, float], number: int, config: PPOConfig) -> None:
    """StageError(DIVERGED) for a metric that is no number or a rollout far beyond `max_kl`."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise StageError(
                ErrorKind.DIVERGED,
                f"{name} became {value} in update {number}.",
                "Lower learning_rate or raise kl_coef.",
            )
    if abs(metrics["kl"]) > EXPLODED * config.max_kl:
        raise StageError(
            ErrorKind.DIVERGED,
            f"The KL to the SFT policy reached {metrics['kl']:.1f} in update {number}, max_kl is {config.max_kl:g}.",
            "Lower learning_rate, raise kl_coef or set target_kl.",
        )


def _require_prompts(counts: dict[str, int], room: int, config: PPOConfig) -> None:
    if counts["prompts"] == counts["too_long"]:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"All {counts['prompts']} prompts are longer than the {max(room, 0)} tokens that max_response_length "
            f"({config.max_response_length}) leaves for them.",
            "Shorten the prompts, lower max_response_length, or raise max_length if the model's context allows it.",
        )
    if not counts["train"]:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"All {counts['heldout']} prompts are held out: none is left to train on.",
            "Give more prompts or lower heldout_fraction.",
        )


def _note_prompts(counts: dict[str, int], room: int, config: PPOConfig, reporter: Reporter) -> None:
    if counts["too_long"]:
        reporter.note(f"{counts['too_long']} prompts of more than {room} tokens were left out.", level="warning")
    if not counts["heldout"]:
        reporter.note("No prompt is held out: policies are compared on train prompts.", level="warning")
    if counts["train"] < config.batch_size:
        reporter.note(f"{counts['train']} train prompts fill a batch of {config.batch_size} by repeating.")
