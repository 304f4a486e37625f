"""The four roles of PPO and what each is asked for: reply, score, log-probabilities, values.

The policy is trained; the reference is the frozen model it started from (with adapters: the same
weights, adapters off); the reward model judges whole responses; the critic predicts that judgement
token by token, starting from the reward model's weights on a trunk of its own (Stiennon et al. 2020, B.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment import chat, models
from alignment.batch import Rollout, Sequences
from alignment.config import PPOConfig
from alignment.ensemble import Ensemble
from alignment.events import ErrorKind, StageError
from alignment.forward import Model, check_head, in_micro_batches, response_logprobs, response_values, score_rows
from alignment.generation import generate
from alignment.records import Prompt
from alignment.stages import PPOInputs


@dataclass(frozen=True)
class Roles:
    """The models of one PPO run, on one device, dropout off in all of them."""

    tokenizer: PreTrainedTokenizerBase
    policy: Model
    reference: Model | None  # None: the policy with its adapters off
    reward_model: Model | Ensemble
    critic: Model

    @property
    def device(self) -> torch.device:
        return next(self.policy.parameters()).device


def load_roles(config: PPOConfig, inputs: PPOInputs) -> Roles:
    """All four from two folders. StageError(BAD_INPUT) where they cannot work together."""
    tokenizer = models.load_tokenizer(inputs.model)
    _require_same_tokens(tokenizer, models.load_tokenizer(inputs.reward_model), inputs)
    policy = models.load_causal_lm(inputs.model, tokenizer, trained=True, lora=config.lora, seed=config.seed)
    # The reference keeps the policy's number type: in another one the KL would not start at 0.
    reference = None if config.lora else models.load_causal_lm(inputs.model, tokenizer, trained=True)
    critic = models.load_scorer(inputs.reward_model, tokenizer, trained=True, lora=config.lora, seed=config.seed)
    reward_model = models.load_reward_model(inputs.reward_model, tokenizer)
    if reference is not None:
        reference.eval().requires_grad_(False)
    for model in (policy, critic):
        _disable_dropout(model)
        if config.gradient_checkpointing:
            model.activation_checkpointing_enable()
    check_head(policy, chat.prompt_ids(tokenizer, Prompt.from_text("Hello?")))
    return Roles(tokenizer, policy, reference, reward_model, critic)


def reply(roles: Roles, prompts: Sequence[list[int]], config: PPOConfig, generator: torch.Generator) -> Sequences:
    """One response of the policy to each prompt: B rows."""
    generated = generate(
        roles.policy,
        roles.tokenizer,
        prompts,
        max_new_tokens=config.max_response_length,
        generator=generator,
        temperature=config.temperature,
        batch_size=config.batch_size,
    )
    responses = [generated.ids(row) for row in range(len(prompts))]
    joined = Sequences.join(prompts, responses, generated.finished.tolist(), roles.tokenizer.pad_token_id)
    return joined.to(roles.device)


def score(roles: Roles, sequences: Sequences, config: PPOConfig) -> Tensor:
    """The reward model's score of each response, after clipping and missing-EOS replacement: `(B,)`.

    A response that was cut off gets `missing_eos_score` in place of its score (Huang et al. 2024
    replace; TRL 1.12 subtracts a penalty instead). Raises StageError(DIVERGED) for a score that is no number.
    """
    rows = [ids[:n] for ids, n in zip(sequences.input_ids.tolist(), sequences.lengths.tolist(), strict=True)]
    scores = score_rows(roles.reward_model, rows, roles.tokenizer.pad_token_id, 4 * config.micro_batch_size)
    if not scores.isfinite().all():
        row = int((~scores.isfinite()).nonzero()[0])
        text = roles.tokenizer.decode(rows[row])
        raise StageError(
            ErrorKind.DIVERGED,
            f"The reward model scores {text[:120]!r} as {float(scores[row])}.",
            "Train the reward model again with a lower learning rate.",
        )
    if config.score_clip is not None:
        scores = scores.clamp(-config.score_clip, config.score_clip)
    scores = scores.to(sequences.input_ids.device)
    if config.missing_eos_score is not None:
        scores = torch.where(sequences.finished, scores, config.missing_eos_score)
    return scores


def record(roles: Roles, sequences: Sequences, config: PPOConfig) -> Rollout:
    """Everything about sampled responses that the update needs, as it is before the update."""
    return Rollout(
        sequences=sequences,
        old_logprobs=policy_logprobs(roles, sequences, config),
        ref_logprobs=reference_logprobs(roles, sequences, config),
        values=in_micro_batches(lambda s: response_values(roles.critic, s), sequences, config.micro_batch_size),
        scores=score(roles, sequences, config),
    )


def policy_logprobs(roles: Roles, sequences: Sequences, config: PPOConfig) -> Tensor:
    """Under the policy as it is now, without gradient: `(B, R)`."""
    return in_micro_batches(
        lambda s: response_logprobs(roles.policy, s, config.temperature), sequences, config.micro_batch_size
    )


def reference_logprobs(roles: Roles, sequences: Sequences, config: PPOConfig) -> Tensor:
    """Under the frozen model that the policy started from: `(B, R)`."""
    model = roles.policy if roles.reference is None else roles.reference
    with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
        return in_micro_batches(
            lambda s: response_logprobs(model, s, config.temperature), sequences, config.micro_batch_size
        )


def trained_weights(model: Model) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """What an optimizer changes, by name."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _disable_dropout(model: Model) -> None:
    """With dropout the ratio of the first pass would not be 1 (adapters bring dropout of their own)."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _require_same_tokens(policy: PreTrainedTokenizerBase, judge: PreTrainedTokenizerBase, inputs: PPOInputs) -> None:
    """The reward model reads the policy's token ids, so each id must mean the same to both."""
    if policy.get_vocab() != judge.get_vocab() or policy.eos_token_id != judge.eos_token_id:
        raise StageError(
            ErrorKind.BAD_INPUT,
            f"The reward model in {inputs.reward_model} has another tokenizer ({len(judge)} tokens) than the policy "
            f"in {inputs.model} ({len(policy)} tokens).",
            "Train the reward model from the same base model as the policy.",
        )
