"""The four roles of PPO and what each is asked for: reply, score, log-probabilities, values.

The policy is trained; the reference is the frozen model it started from (with adapters: the same
weights, adapters off); the reward model judges whole responses; the critic predicts that judgement
token by token, starting from the reward model's weights on a trunk of its own (Stiennon et al. 2020, B.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment.cpu.memory import keep_freed_memory
from alignment.data import chat
from alignment.data.batch import Rollout, Sequences
from alignment.models.adapters import add_adapters, can_stand_above, is_adapted
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
from alignment.models.load import (
    load_base,
    load_causal_lm,
    load_reward_model,
    load_scorer,
    load_tokenizer,
)
from alignment.models.micro_batches import in_micro_batches
from alignment.models.sharing import frozen_copy, with_own_head
from alignment.ppo.controllers import ScoreScaler, scaler_of
from alignment.ppo.score_shaping import shape_scores
from alignment.rollout.engines import Engine, engine_of, require_same_numbers
from alignment.rollout.generation import generate
from alignment.rollout.requirements import require_numbers, require_same_tokens
from alignment.rollout.streams import Draws
from alignment.shared.config import LoRAConfig, PPOConfig, RLOOConfig
from alignment.shared.methods import Bottleneck, Rescaling
from alignment.shared.policy.ppo_config import CPU_LANES
from alignment.shared.records import Prompt
from alignment.shared.stages import PPOInputs
from alignment.training.ready import make_ready, quicken
from alignment.training.resting import Resting
from alignment.training.shards import GatheredCopy, loaded
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
    copy: GatheredCopy | None = field(default=None, kw_only=True)  # of a policy of which each process holds a share
    resting: Resting | None = field(default=None, kw_only=True)  # reference and reward model wait in the host's memory

    def sampler(self) -> Model:
        """The model that decodes, with the policy's weights; every process must ask."""
        return self.policy if self.copy is None else self.copy.now()

    def asking(self, model: Model | Ensemble) -> AbstractContextManager[None]:
        """Within, `model`, a frozen one, is on the device."""
        return nullcontext() if self.resting is None else self.resting.awake(model)

    @property
    def lanes(self) -> int:
        """Micro-batches at a time, at most: shares are gathered by one after another."""
        return CPU_LANES if self.copy is None else 1

    @property
    def device(self) -> torch.device:
        return next(self.policy.parameters()).device


R = TypeVar("R", bound=Roles)


class Replies(NamedTuple):
    """What the policy said, and how likely the engine that sampled it found each token."""

    sequences: Sequences
    sampled_logprobs: Tensor  # (B, R)


@dataclass(frozen=True)
class ActorCritic(Roles):
    """The roles of PPO."""

    critic: Model


def load_roles(config: PPOConfig, inputs: PPOInputs, team: Team = ALONE) -> ActorCritic:
    """All four from two folders. BadInput where they cannot work together."""
    read = functools.partial(_load_roles, config, inputs, team)
    return _rested(loaded(read, team, shares=config.shard_weights), config)


def load_without_critic(config: PolicyConfig, inputs: PPOInputs, team: Team = ALONE) -> Roles:
    """Policy, reference and reward model. BadInput where they cannot work together."""
    read = functools.partial(_load_without_critic, config, inputs, team)
    return _rested(loaded(read, team, shares=config.shard_weights), config)


def _rested(roles: R, config: PolicyConfig) -> R:
    """With frozen roles that wait in the host's memory, where that is asked for; the CPU's is the host's."""
    if not config.offload_frozen or roles.device.type == "cpu":
        return roles
    assert roles.reference is not None, "with lora nothing rests"
    return replace(roles, resting=Resting(roles.device, roles.reference, roles.reward_model))


def _load_roles(config: PPOConfig, inputs: PPOInputs, team: Team, device: torch.device | None) -> ActorCritic:
    """`device`: where they are read to be shared out."""
    roles = _load_without_critic(config, inputs, team, device)
    critic = _critic(roles, config, inputs, device)
    make_ready(critic, config)
    scale_scores(critic, roles.scaler.std)  # born from the reward model, it predicts normalised scores too
    return ActorCritic(**vars(roles), critic=critic)


def _load_without_critic(config: PolicyConfig, inputs: PPOInputs, team: Team, device: torch.device | None) -> Roles:
    tokenizer = load_tokenizer(inputs.model)
    require_same_tokens(tokenizer, inputs)
    policy, reference, reward_model = _models(config, inputs, tokenizer, device)
    if reference is not None:
        reference.eval().requires_grad_(False)
        quicken(reference)
    for judge in reward_model.models if isinstance(reward_model, Ensemble) else (reward_model,):
        quicken(judge)
    if next(policy.parameters()).device.type == "cpu":
        keep_freed_memory()
    make_ready(policy, config)
    check_head(policy, chat.prompt_ids(tokenizer, Prompt.from_text("Hello?")))
    engine = engine_of(config)
    require_same_numbers(engine, policy, tokenizer)
    return Roles(tokenizer, policy, reference, reward_model, scaler_of(config, inputs), engine=engine, team=team)


def _models(
    config: PolicyConfig, inputs: PPOInputs, tokenizer: PreTrainedTokenizerBase, device: torch.device | None
) -> tuple[Model, Model | None, Model | Ensemble]:
    """Policy, reference and reward model. With adapters they stand on one base, as far as they were trained on it."""
    light, seed = config.light, config.seed
    if not isinstance(light, LoRAConfig | Rescaling | Bottleneck):
        policy = load_causal_lm(inputs.model, tokenizer, trained=True, light=light, seed=seed, device=device)
        # The reference keeps the policy's number type: in another one the KL would not start at 0.
        reference = None if is_adapted(policy) else frozen_copy(policy)
        return policy, reference, load_reward_model(inputs.reward_model, tokenizer, device=device)
    base = load_base(inputs.model, tokenizer, device, light)
    reward_model = load_reward_model(inputs.reward_model, tokenizer, device=device, base=(inputs.model, base))
    return add_adapters(base.train(), light, "CAUSAL_LM", seed), None, reward_model


def _critic(roles: Roles, config: PPOConfig, inputs: PPOInputs, device: torch.device | None) -> Model:
    """Begins as the reward model, of an ensemble as its first member: with adapters on that one's weights."""
    judge = roles.reward_model.models[0] if isinstance(roles.reward_model, Ensemble) else roles.reward_model
    light, seed = config.light, config.seed
    if isinstance(light, LoRAConfig | Rescaling | Bottleneck):
        alone = not isinstance(roles.reward_model, Ensemble)
        if not is_adapted(judge) or (alone and can_stand_above(judge, light)):
            return add_adapters(with_own_head(judge).train(), light, "SEQ_CLS", seed)
    return load_scorer(inputs.reward_model, roles.tokenizer, trained=True, light=light, seed=seed, device=device)


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
        roles.sampler(),
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

    Raises Diverged for a score that is no number.
    """
    rows = [ids[:n] for ids, n in zip(sequences.input_ids.tolist(), sequences.lengths.tolist(), strict=True)]
    pad_id, size, device = roles.tokenizer.pad_token_id, 4 * config.micro_batch_size, sequences.input_ids.device
    judge, disagreement, share = roles.reward_model, None, roles.team.share(sequences.lengths)
    mine = [rows[row] for row in share.rows.tolist()]
    with roles.asking(judge):
        if isinstance(judge, Ensemble):
            found = score_members(judge, mine, pad_id, size).T
        else:
            found = score_rows(judge, mine, pad_id, size)
    if isinstance(judge, Ensemble):
        members = roles.team.gather(found, share, (len(rows), len(judge.models))).T
        scores = combine_scores(members, judge.combine, judge.variance_coef)
        disagreement = members.std(dim=0, unbiased=False).to(device)
    else:
        scores = roles.team.gather(found, share, (len(rows),))
    require_numbers(scores, rows, roles.tokenizer)
    return scores.to(device), disagreement


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
    with roles.asking(model), model.disable_adapter() if is_adapted(model) else nullcontext():
        return _by_rows(roles, sequences, lambda s: response_logprobs(model, s, config.temperature), config)


def _by_rows(
    roles: Roles, sequences: Sequences, compute: Callable[[Sequences], Tensor], config: PolicyConfig
) -> Tensor:
    """`compute` without gradient, each row on one process, in micro-batches: `(B, R)`."""
    size, lanes = config.micro_batch_size, roles.lanes
    return roles.team.by_rows(lambda part: in_micro_batches(compute, part, size, lanes), sequences)


def trained_weights(model: Model) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """What an optimizer changes, by name."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
