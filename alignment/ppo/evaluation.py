"""Which policy is kept: evaluations on held-out prompts, and the stated rule that chooses among them.

The rule sees what every run can know. Reward models are over-optimised (Gao et al. 2022): their
score keeps rising after quality has begun to fall, and the fall comes with KL. So a newer policy,
which has moved further, must be better by more than the noise of the evaluation to be kept. What the score
does not show is a policy on its way to saying the same whatever is asked, a weak reward model's
favourite reply; so each evaluation also measures what replies tell of their prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alignment.data.batch import Sequences
from alignment.maths.advantages import kl_estimate
from alignment.models.adapters import is_adapted, save_adapter
from alignment.models.save import save_model, saved_type
from alignment.ppo.alarms.view import SURE, Bounds, Standing
from alignment.ppo.roles import Roles, policy_logprobs, reference_logprobs, reply, score, trained_weights
from alignment.rollout.streams import Draws
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.training.shards import is_shared, whole_on_first

CONTRASTS = 4  # prompts, its own among them, between which a reply has to tell


@dataclass(frozen=True)
class Evaluation:
    """What the policy did on the held-out prompts after `update` updates (0: the SFT policy)."""

    update: int
    sequences: Sequences  # B responses: the first to each of P prompts, then the second to each, and so on
    scores: Tensor  # (B,) the reward model's
    kl: Tensor  # (B,) k1 against the reference, summed over each response
    information: Tensor  # (B,) nats that each response tells of its prompt
    kl_price: float  # of a nat
    prompts: int  # P

    @property
    def objectives(self) -> Tensor:
        """What evaluations are compared by, for each prompt: `(P,)`."""
        return self.by_prompt(self.scores - self.kl_price * self.kl)

    def by_prompt(self, values: Tensor) -> Tensor:
        """Means `(P,)` of `(B,)`: responses to one prompt are not independent."""
        return values.view(-1, self.prompts).mean(dim=0)

    def metrics(self) -> dict[str, float]:
        return {
            "heldout_score": float(self.scores.mean()),
            "heldout_kl": float(self.kl.mean()),
            "heldout_objective": float(self.objectives.mean()),
            "heldout_finished_share": float(self.sequences.finished.float().mean()),
            "heldout_response_length": float(self.sequences.response_lengths.float().mean()),
            "heldout_specificity": float(self.information.mean()),
        }


def evaluate(
    roles: Roles,
    prompts: Sequence[list[int]],
    update: int,
    config: PPOConfig | RLOOConfig,
    draws: Draws | None = None,
) -> Evaluation:
    """Sample the policy on every prompt, `evaluate_replies` in all, with the same draws at every evaluation."""
    generator = torch.Generator(roles.device).manual_seed(config.seed)
    asked = list(prompts) * max(1, config.evaluate_replies // len(prompts))
    sequences = reply(roles, asked, config, generator, draws).sequences
    logprobs = policy_logprobs(roles, sequences, config)
    kl = kl_estimate(logprobs, reference_logprobs(roles, sequences, config)).sum(dim=1)
    information = specificity(roles, sequences, logprobs.sum(dim=1), prompts, config)
    return Evaluation(
        update,
        sequences,
        score(roles, sequences, config).cpu(),
        kl.cpu(),
        information.cpu(),
        price_of_kl(config),
        len(prompts),
    )


def specificity(
    roles: Roles, sequences: Sequences, own: Tensor, prompts: Sequence[list[int]], config: PPOConfig | RLOOConfig
) -> Tensor:
    """Nats that each response tells of its prompt, with `own` `(B,)` its log-probability there: `(B,)`.

    How much likelier it is after its own prompt than after CONTRASTS prompts on average, its own among them: a lower
    bound of the information between prompt and response, at most log CONTRASTS (van den Oord et al. 2018, eq. 4 and 5).
    0 for a policy that does not heed the prompt.
    """
    responses = [response for _, response in sequences.split()]
    steps = sorted({round(k * len(prompts) / CONTRASTS) for k in range(1, CONTRASTS)} - {0, len(prompts)})
    found = [own]
    for step in steps:
        others = [prompts[(row + step) % len(prompts)] for row in range(len(responses))]
        pairs = Sequences.join(others, responses, sequences.finished.tolist(), roles.tokenizer.pad_token_id)
        found.append(policy_logprobs(roles, pairs.to(roles.device), config).sum(dim=1))
    among = torch.stack(found)
    return own - among.logsumexp(dim=0) + math.log(len(found))


def paired(new: Tensor, old: Tensor) -> tuple[float, float]:
    """Mean of `(P,)` differences, prompt by prompt, and its standard error."""
    gain = new - old
    return float(gain.mean()), float(gain.std()) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0


def gain_of(new: Evaluation, old: Evaluation) -> tuple[float, float]:
    """How much more `new` reaches than `old`, and the standard error of that."""
    return paired(new.objectives, old.objectives)


def specificity_beside(new: Evaluation, sft: Evaluation) -> tuple[float, bool]:
    """What the responses of `new` tell of their prompts, as a share of what those of the first evaluation told; and
    whether it is less by more than the noise. Where those told nothing, nothing can be lost."""
    at_first = float(sft.information.mean())
    if at_first <= 0:
        return 1.0, False
    change, error = paired(new.by_prompt(new.information), sft.by_prompt(sft.information))
    return float(new.information.mean()) / at_first, change < -SURE * error


def bounds_of(config: PPOConfig | RLOOConfig) -> Bounds:
    """Those of `rule`."""
    return Bounds(config.max_kl, config.min_specificity)


def price_of_kl(config: PPOConfig | RLOOConfig) -> float:
    """What a nat of KL costs a policy where policies are compared: never less than in training."""
    return max(config.kl_coef, config.keep_kl_coef)


def replaces(new: Evaluation, kept: Evaluation, sft: Evaluation, bounds: Bounds) -> bool:
    """Whether the policy of `new` is kept from now on, in place of `kept`, by `rule`; `sft` is the first evaluation."""
    share, fell = specificity_beside(new, sft)
    within = float(new.kl.mean()) <= bounds.max_kl and not (fell and share < bounds.min_specificity)
    gain, error = gain_of(new, kept)
    return within and gain > error


def standings(evaluations: Sequence[Evaluation], bounds: Bounds) -> list[Standing]:
    """The evaluations as the monitors use them: each beside the best before it, the rule replayed."""
    found: list[Standing] = []
    best = kept = evaluations[0]
    for entry in evaluations:
        took = entry is kept or replaces(entry, kept, evaluations[0], bounds)
        kept = entry if took else kept
        gain, error = gain_of(entry, best)
        best = entry if gain > 0 else best
        objective = float(entry.objectives.mean())
        found.append(Standing(entry.update, objective, -gain, error, took, *specificity_beside(entry, evaluations[0])))
    return found


class Selection:
    """Remembers evaluations, and the weights of the policy that the rule keeps by now."""

    def __init__(self, roles: Roles, bounds: Bounds) -> None:
        self.roles, self.bounds = roles, bounds
        self.evaluations: list[Evaluation] = []
        self.kept: Evaluation | None = None
        self.weights: dict[str, Tensor] = {}  # of the kept policy, those that are trained; the first process has them

    def add(self, entry: Evaluation) -> Evaluation:
        """Take in an evaluation at the policy as it is now; keep that policy if it replaces the kept one."""
        self.evaluations.append(entry)
        if self.kept is None or replaces(entry, self.kept, self.evaluations[0], self.bounds):
            self.kept = entry
            if is_shared(self.roles.policy):
                self.weights = {name: w.detach().clone() for name, w in trained_weights(self.roles.policy)}
            elif self.roles.team.first:
                self.weights = {name: w.detach().cpu().clone() for name, w in trained_weights(self.roles.policy)}
        return entry

    def save(self, out_dir: Path, config: PPOConfig | RLOOConfig, base: Path) -> None:
        """Put the kept weights back into the policy, and write it; one process writes the whole. `base`: the SFT
        policy's folder, to which adapters belong."""
        assert self.kept is not None, "save comes after the first evaluation"
        policy, team = self.roles.policy, self.roles.team
        with torch.no_grad():
            for name, weight in trained_weights(policy) if self.weights else ():
                weight.copy_(self.weights[name])
        whole = whole_on_first(policy, self.roles.sampler(), team) if is_shared(policy) else policy
        if whole is None or not team.first:
            return
        if is_adapted(whole) and config.save_adapter:
            save_adapter(whole, self.roles.tokenizer, out_dir, str(base.resolve()))
        else:
            save_model(whole, self.roles.tokenizer, out_dir, saved_type(config.save_dtype, base))


def rule(config: PPOConfig | RLOOConfig, prompts: int) -> str:
    """The rule in words, for the report."""
    return (
        f"Every {config.evaluate_every} updates the policy answers {prompts} held-out prompts. Kept at first is the "
        f"SFT policy. A later policy takes its place if its mean KL to the SFT policy is at most {config.max_kl:g}, if "
        f"its replies do not tell less than {config.min_specificity:.0%} of what the SFT policy's tell of their prompt "
        f"(by more than {SURE:g} standard errors), and if its mean of reward-model score - {price_of_kl(config):g} * "
        "KL is higher by more than one standard error of the difference, taken prompt by prompt."
    )
