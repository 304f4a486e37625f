"""Forward passes of the four roles: log-probabilities, values, scores.

The policy's log-probabilities come from this one function in rollout, reference and update alike,
so that the PPO ratio is 1 before the first step whatever engine sampled the tokens. The language
model head is applied on response tokens only, in chunks: logits over a large vocabulary are the
largest tensor of the whole stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from alignment.cpu import packing
from alignment.cpu.linear import rounded
from alignment.data.batch import Sequences, by_length, pad_right
from alignment.models.adapters import is_adapted
from alignment.models.device import autocast, has_bfloat16, in_float32
from alignment.models.ensemble import Ensemble, combine_scores
from alignment.models.load import context_length
from alignment.shared.errors import BadInput
from alignment.shared.sentence import Sentence
from alignment.untrusted.families import after_head

if TYPE_CHECKING:
    from peft import PeftModel

Model: TypeAlias = "PreTrainedModel | PeftModel"

LOGIT_CHUNK = 4096  # tokens whose logits exist at one time
HEAD_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}  # relative; a head differs from itself by less


WITHIN = "within_shards"  # what a model that is shared out among processes has: it calls with its weights gathered


class TokenTerms(NamedTuple):
    """What the policy says of each response token; 0 on padding."""

    logprobs: Tensor  # (B, R) of the token
    entropies: Tensor  # (B, R) of the whole distribution that it was drawn from


def response_logprobs(policy: Model, sequences: Sequences, temperature: float) -> Tensor:
    """Log-probability of each response token given all before it: `(B, R)`, 0 on padding.

    The logits are divided by `temperature`: these are the probabilities that the sampler drew from.
    """
    return _within(policy, lambda: _response_terms(policy, sequences, temperature, _logprob))[0]


def response_terms(policy: Model, sequences: Sequences, temperature: float) -> TokenTerms:
    """`response_logprobs` and the entropies, from one pass."""
    return TokenTerms(*_within(policy, lambda: _response_terms(policy, sequences, temperature, _logprob_and_entropy)))


def _response_terms(
    policy: Model, sequences: Sequences, temperature: float, terms: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """`terms` of tempered logits `(N, V)` and targets `(N,)`, `(K, N)`, put in their places: `(K, B, R)`."""
    mask = sequences.response_mask
    hidden = _before(policy, sequences)[mask]  # (N, H)
    targets = sequences.input_ids.gather(1, sequences.positions())[mask]  # (N,)
    head = _head(policy)
    parts = [
        _chunk_terms(head, h, t, temperature, terms, recompute=targets.numel() > LOGIT_CHUNK)
        for h, t in zip(torch.split(hidden, LOGIT_CHUNK), torch.split(targets, LOGIT_CHUNK), strict=True)
    ]
    flat = torch.cat(parts, dim=1)
    masks = mask.expand(len(flat), *mask.shape)
    return torch.zeros(masks.shape, dtype=flat.dtype, device=mask.device).masked_scatter(masks, flat)


class _Logprob(torch.autograd.Function):
    """`log_softmax` at the targets, and its gradient: of all tensors of logits' size, `(N, V)`, one is kept and used
    again, where cross-entropy's gradient makes two more."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=-1)
        ctx.save_for_backward(logs, targets)
        return logs.gather(1, targets[:, None]).squeeze(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logs, targets = ctx.saved_tensors
        found = logs.exp_().mul_(-grad[:, None])
        return found.scatter_add_(1, targets[:, None], grad[:, None]), None


def _logprob(logits: Tensor, targets: Tensor) -> Tensor:
    found: Tensor = _Logprob.apply(logits, targets)  # type: ignore[no-untyped-call]
    return found[None]


def _logprob_and_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    logs = logits.log_softmax(dim=-1)
    return torch.stack([logs.gather(1, targets[:, None]).squeeze(1), -(logs.exp() * logs).sum(dim=1)])


def response_values(critic: Model, sequences: Sequences) -> Tensor:
    """The critic's value of the state in which each response token is chosen: `(B, R)`, 0 on padding."""

    def compute() -> Tensor:
        return in_float32(_base(critic).score, _before(critic, sequences))

    values = _within(critic, compute).squeeze(-1)
    # Born from a reward model, the critic predicts that model's score: less the same mean.
    return torch.where(sequences.response_mask, values - score_mean(critic), 0.0)


def end_scores(reward_model: Model, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """The scalar head at the last real token of each row, padded on the right: `(B,)`, float32.

    Transformers finds that token by looking for ids that differ from padding; lengths are right also
    where a text contains the padding token.
    """

    def compute() -> Tensor:
        hidden, starts = _states(reward_model, input_ids, lengths)
        return in_float32(_base(reward_model).score, hidden[starts + lengths - 1])

    return _within(reward_model, compute).flatten()


@torch.no_grad()
def score_rows(reward_model: Model | Ensemble, rows: list[list[int]], pad_id: int, batch_size: int) -> Tensor:
    """`end_scores` of many sequences of any length, less the model's stored mean: `(B,)` on the CPU."""
    if isinstance(reward_model, Ensemble):
        members = score_members(reward_model, rows, pad_id, batch_size)
        return combine_scores(members, reward_model.combine, reward_model.variance_coef)
    device = next(reward_model.parameters()).device
    scores = torch.empty(len(rows))
    for group in by_length([len(row) for row in rows], batch_size):
        ids = pad_right([rows[i] for i in group.tolist()], pad_id).to(device)
        lengths = torch.tensor([len(rows[i]) for i in group.tolist()], device=device)
        scores[group] = end_scores(reward_model, ids, lengths).cpu()
    return scores - score_mean(reward_model)


def score_members(ensemble: Ensemble, rows: list[list[int]], pad_id: int, batch_size: int) -> Tensor:
    """Each member's scores, its reference answers at 0: `(M, B)` on the CPU."""
    found = []
    for number, (model, adapter) in enumerate(zip(ensemble.models, ensemble.adapters, strict=True)):
        if adapter is not None:
            model.set_adapter(adapter, inference_mode=True)
            model.config.score_mean = ensemble.means[number]
        found.append(score_rows(model, rows, pad_id, batch_size))
    return torch.stack(found)


def score_mean(reward_model: Model | Ensemble) -> float:
    """What the reward stage found reference answers to score: subtracted, so that they average 0."""
    return float(getattr(reward_model.config, "score_mean", 0.0))


def scale_scores(scorer: Model, std: float) -> None:
    """Let a model with a score head say everything in units of `std`."""
    with torch.no_grad():
        for weight in _base(scorer).score.parameters():
            weight.div_(std)
    scorer.config.score_mean = score_mean(scorer) / std


@torch.no_grad()
def check_head(policy: Model, input_ids: list[int]) -> None:
    """Refuse a model whose logits are another function of its hidden states than we know (families.after_head).

    Raises BadInput.
    """
    ids = torch.tensor([input_ids], device=next(policy.parameters()).device)
    with autocast(ids.device):
        theirs = policy(input_ids=ids, use_cache=False).logits.float()
        ours = _head(policy)(_trunk(policy)(input_ids=ids, use_cache=False).last_hidden_state)
    tolerance = HEAD_TOLERANCE[torch.bfloat16 if has_bfloat16(ids.device) else torch.float32]
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max())):
        raise BadInput(
            Sentence(
                "logits-changed",
                "%(name)s changes its logits after the output layer, which PPO does not reproduce.",
                name=type(_base(policy)).__name__,
            ),
            Sentence("use-other-architecture", "Use a model of another architecture, such as Llama, Qwen or Mistral."),
        )


def _within(model: Model, compute: Callable[[], Tensor]) -> Tensor:
    gather: Callable[[Callable[[], Tensor]], Tensor] | None = getattr(model, WITHIN, None)
    return compute() if gather is None else gather(compute)


def _before(model: Model, sequences: Sequences) -> Tensor:
    """The hidden state one position before each response token, which predicts it: `(B, R, H)`."""
    hidden, starts = _states(model, sequences.input_ids, sequences.lengths)
    return hidden[starts[:, None] + sequences.positions() - 1]


def _states(model: Model, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Last hidden states of right-padded `ids` `(B, T)`, all in a row, `(N, H)`; where each row begins, `(B,)`.

    Padding on the right needs neither shifted positions nor a mask: what stands before never attends to it.
    """
    if packing.is_packed(_base(model)):
        return packing.states(_base(model), ids, lengths)
    ids = _round_width(ids, context_length(model))
    with autocast(ids.device):
        states: Tensor = _trunk(model)(input_ids=ids, use_cache=False).last_hidden_state
    return states.flatten(0, 1), torch.arange(len(ids), device=ids.device) * ids.shape[1]


def _round_width(ids: Tensor, limit: int | None) -> Tensor:
    """`(B, T)` with some more padding, where positions go that far: a round number of rows is multiplied faster."""
    width = rounded(ids.shape[1], rows=len(ids))
    return ids if limit is not None and width > limit else F.pad(ids, (0, width - ids.shape[1]))


def _chunk_terms(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    terms: Callable[[Tensor, Tensor], Tensor],
    *,
    recompute: bool,
) -> Tensor:
    """`terms` of some tokens: `(K, N)`; `recompute` drops the logits and makes them again for the gradient."""
    count = len(targets)
    spare = rounded(count) - count
    hidden, targets = F.pad(hidden, (0, 0, 0, spare)), F.pad(targets, (0, spare))

    def compute(h: Tensor) -> Tensor:
        logits = head(h)
        return terms(logits if temperature == 1.0 else logits / temperature, targets)[:, :count]

    if recompute and torch.is_grad_enabled():
        return checkpoint(compute, hidden, use_reentrant=False)  # type: ignore[no-any-return]
    return compute(hidden)


def _base(model: Model) -> Any:
    """The model itself, adapters inside it, without PEFT's wrapper."""
    return model.get_base_model() if is_adapted(model) else model


def _trunk(model: Model) -> Callable[..., Any]:
    return cast(Callable[..., Any], _base(model).base_model)


def _head(model: Model) -> Callable[[Tensor], Tensor]:
    """Hidden states to logits in float32, with the factor and the soft cap that some families put behind them."""
    layer = _base(model).get_output_embeddings()
    factor, cap = after_head(_base(model).config.get_text_config())

    def logits_of(hidden: Tensor) -> Tensor:
        said = in_float32(layer, hidden)
        logits = said if factor == 1.0 else said * factor
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return logits_of
