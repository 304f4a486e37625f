"""The four roles of PPO and what each is asked for: reply, score, log-probabilities, values.

The policy is trained; the reference is the frozen model it started from (with adapters: the same
weights, adapters off); the reward model judges whole responses; the critic predicts that judgement
token by token, starting from the reward model's weights on a trunk of its own (Stiennon et al. 2020, B.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment.cpu import packing
from alignment.cpu.linear import speed_up
from alignment.cpu.memory import keep_freed_memory
from alignment.data import chat
from alignment.data.batch import Rollout, Sequences
from alignment.models.adapters import is_adapted
from alignment.models.ensemble import Ensemble, combine_scores
from alignment.models.forward import (
    Model,
    check_head,
    response_logprobs,
    response_values,
    scale_scores,
    score_members,
    score_rows,
)
from alignment.models.load import load_causal_lm, load_reward_model, load_scorer, load_tokenizer, read_score_scale
from alignment.models.micro_batches import in_micro_batches
from alignment.ppo.controllers import ScoreScaler
from alignment.ppo.score_shaping import shape_scores
from alignment.rollout.engines import Engine, engine_of, require_same_numbers
from alignment.rollout.generation import generate
from alignment.rollout.streams import Draws
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.events import ErrorKind, StageError
from alignment.shared.records import Prompt
from alignment.shared.stages import PPOInputs
from alignment.training.team import ALONE, Team

PolicyConfig = PPOConfig | RLOOConfig


@dataclass(frozen=True)
class Roles:
    """The models of one run, on one device, dropout off in all of them."""

    tokenizer: PreTrainedTokenizerBase
    policy: Model
    reference: Model | None  # None: the policy with its adapters off
    reward_model: Model | Ensemble
    scaler: ScoreScaler  # of the reward model's scores
    engine: Engine = field(default=generate, kw_only=True)
    team: Team = field(default=ALONE, kw_only=True)

    @property
    def device(self) -> torch.device:
        return next(self.policy.parameters()).device


class Replies(NamedTuple):
    """What the policy said, and how likely the engine that sampled it found each token."""

    sequences: Sequences
    sampled_logprobs: Tensor  # (B, R)


@dataclass(frozen=True)
class ActorCritic(Roles):
    """The roles of PPO."""

    critic: Model


def load_roles(config: PPOConfig, inputs: PPOInputs, team: Team = ALONE) -> ActorCritic:
    """All four from two folders. StageError(BAD_INPUT) where they cannot work together."""
    roles = load_without_critic(config, inputs, team)
    critic = load_scorer(inputs.reward_model, roles.tokenizer, trained=True, lora=config.lora, seed=config.seed)
    _make_ready(critic, config)
    scale_scores(critic, roles.scaler.std)  # born from the reward model, it predicts normalised scores too
    return ActorCritic(**vars(roles), critic=critic)


def load_without_critic(config: PolicyConfig, inputs: PPOInputs, team: Team = ALONE) -> Roles:
    """Policy, reference and reward model. StageError(BAD_INPUT) where they cannot work together."""
    tokenizer = load_tokenizer(inputs.model)
    require_same_tokens(tokenizer, inputs)
    policy = load_causal_lm(inputs.model, tokenizer, trained=True, lora=config.lora, seed=config.seed)
    # The reference keeps the policy's number type: in another one the KL would not start at 0.
    reference = None if config.lora else load_causal_lm(inputs.model, tokenizer, trained=True)
    reward_model = load_reward_model(inputs.reward_model, tokenizer)
    if reference is not None:
        reference.eval().requires_grad_(False)
        _quicken(reference)
    for judge in reward_model.models if isinstance(reward_model, Ensemble) else (reward_model,):
        _quicken(judge)
    if next(policy.parameters()).device.type == "cpu":
        keep_freed_memory()
    _make_ready(policy, config)
    check_head(policy, chat.prompt_ids(tokenizer, Prompt.from_text("Hello?")))
    engine = engine_of(config)
    require_same_numbers(engine, policy, tokenizer)
    return Roles(tokenizer, policy, reference, reward_model, _scaler(config, inputs), engine=engine, team=team)


def reply(
    roles: Roles,
    prompts: Sequence[list[int]],
    config: PolicyConfig,
    generator: torch.Generator,
    draws: Draws | None = None,
) -> Replies:
    """One response of the policy to each prompt: B rows. `draws`: see `generate`."""
    team, most = roles.team, config.max_response_length
    share = team.share([len(ids) for ids in prompts])
    mine: list[int] = share.rows.tolist()
    part = roles.engine(
        roles.policy,
        roles.tokenizer,
        [prompts[row] for row in mine],
        max_new_tokens=most,
        generator=team.own(generator),
        temperature=config.temperature,
        batch_size=config.batch_size,
        draws=draws and (lambda rows, tokens: draws([mine[row] for row in rows], tokens)),
    )
    tokens, logprobs = (team.gather(found, share, (len(prompts), most)) for found in (part.responses, part.logprobs))
    counted = torch.stack([part.response_mask.sum(dim=1), part.finished], dim=1)  # (B, 2)
    lengths, finished = team.gather(counted, share, (len(prompts), 2)).unbind(dim=1)
    responses = [ids[:length] for ids, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    joined = Sequences.join(prompts, responses, finished.bool().tolist(), roles.tokenizer.pad_token_id)
    return Replies(joined.to(roles.device), logprobs[:, : int(lengths.max())])


def raw_scores(roles: Roles, sequences: Sequences, config: PolicyConfig) -> tuple[Tensor, Tensor | None]:
    """The reward model's score of each response `(B,)`; of an ensemble also how much its members disagree.

    Raises StageError(DIVERGED) for a score that is no number.
    """
    rows = [ids[:n] for ids, n in zip(sequences.input_ids.tolist(), sequences.lengths.tolist(), strict=True)]
    pad_id, size, device = roles.tokenizer.pad_token_id, 4 * config.micro_batch_size, sequences.input_ids.device
    judge, disagreement, share = roles.reward_model, None, roles.team.share(sequences.lengths)
    mine = [rows[row] for row in share.rows.tolist()]
    if isinstance(judge, Ensemble):
        found = score_members(judge, mine, pad_id, size).T
        members = roles.team.gather(found, share, (len(rows), len(judge.models))).T
        scores = combine_scores(members, judge.combine, judge.variance_coef)
        disagreement = members.std(dim=0, unbiased=False).to(device)
    else:
        scores = roles.team.gather(score_rows(judge, mine, pad_id, size), share, (len(rows),))
    require_numbers(scores, rows, roles.tokenizer)
    return scores.to(device), disagreement


def require_numbers(scores: Tensor, rows: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase) -> None:
    """StageError(DIVERGED) for a score `(B,)` that is no number; names the text of its row."""
    for value, ids in zip(scores.tolist(), rows, strict=True):
        if not math.isfinite(value):
            raise StageError(
                ErrorKind.DIVERGED,
                f"The reward model scores {tokenizer.decode(ids)[:120]!r} as {value}.",
                "Train the reward model again with a lower learning rate.",
            )


def score(roles: Roles, sequences: Sequences, config: PolicyConfig) -> Tensor:
    """What PPO maximises but for the KL, of each response, on a scale that stays: `(B,)`."""
    raw, _ = raw_scores(roles, sequences, config)
    return shape_scores(raw, sequences, config, *roles.scaler.fixed(raw.tolist()))


def record(
    roles: ActorCritic, sequences: Sequences, config: PPOConfig, sampled_logprobs: Tensor | None = None
) -> Rollout:
    """Everything about sampled responses that the update needs, as it is before the update."""
    values = _by_rows(roles, sequences, lambda s: response_values(roles.critic, s), config)
    return replace(record_without_critic(roles, sequences, config, sampled_logprobs), values=values)


def record_without_critic(
    roles: Roles, sequences: Sequences, config: PolicyConfig, sampled_logprobs: Tensor | None = None
) -> Rollout:
    """The same, with values of 0."""
    raw, disagreement = raw_scores(roles, sequences, config)
    roles.scaler.observe(raw.tolist())
    old_logprobs = policy_logprobs(roles, sequences, config)
    return Rollout(
        sequences=sequences,
        old_logprobs=old_logprobs,
        ref_logprobs=reference_logprobs(roles, sequences, config),
        values=torch.zeros_like(old_logprobs),
        scores=shape_scores(raw, sequences, config, *roles.scaler.current()),
        raw_scores=raw,
        disagreement=disagreement,
        sampled_logprobs=sampled_logprobs,
    )


def policy_logprobs(roles: Roles, sequences: Sequences, config: PolicyConfig) -> Tensor:
    """Under the policy as it is now, without gradient: `(B, R)`."""
    return _by_rows(roles, sequences, lambda s: response_logprobs(roles.policy, s, config.temperature), config)


def reference_logprobs(roles: Roles, sequences: Sequences, config: PolicyConfig) -> Tensor:
    """Under the frozen model that the policy started from: `(B, R)`."""
    model = roles.policy if roles.reference is None else roles.reference
    with model.disable_adapter() if is_adapted(model) else nullcontext():
        return _by_rows(roles, sequences, lambda s: response_logprobs(model, s, config.temperature), config)


def _by_rows(
    roles: Roles, sequences: Sequences, compute: Callable[[Sequences], Tensor], config: PolicyConfig
) -> Tensor:
    """`compute` without gradient, each row on one process, in micro-batches: `(B, R)`."""
    return roles.team.by_rows(lambda part: in_micro_batches(compute, part, config.micro_batch_size), sequences)


def trained_weights(model: Model) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """What an optimizer changes, by name."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _make_ready(model: Model, config: PolicyConfig) -> None:
    """Dropout off: with it the ratio of the first pass would not be 1 (adapters bring dropout of their own)."""
    _quicken(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable()


def _quicken(model: Model) -> None:
    """What a CPU gains by: products by oneDNN, no padding."""
    speed_up(model)
    packing.enable(model.get_base_model() if is_adapted(model) else model)


def _scaler(config: PolicyConfig, inputs: PPOInputs) -> ScoreScaler:
    """How scores are normalised. StageError(BAD_INPUT) where nobody measured the scale that was asked for."""
    if config.score_normalisation != "reference":
        return ScoreScaler(running=config.score_normalisation == "running")
    scale = read_score_scale(inputs.reward_model)
    if scale is None or scale.std <= 0:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"score_normalisation: {inputs.reward_model} does not say how its scores are spread on reference answers.",
            "Train the reward model here, or set score_normalisation to 'running'.",
        )
    return ScoreScaler(scale.std)


def require_same_tokens(policy: PreTrainedTokenizerBase, inputs: PPOInputs) -> None:
    """The reward model reads the policy's token ids, so each id must mean the same to both: else BAD_INPUT."""
    judge = load_tokenizer(inputs.reward_model)
    if policy.get_vocab() != judge.get_vocab() or policy.eos_token_id != judge.eos_token_id:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"The reward model in {inputs.reward_model} has another tokenizer ({len(judge)} tokens) than the policy "
            f"in {inputs.model} ({len(policy)} tokens).",
            "Train the reward model from the same base model as the policy.",
        )
