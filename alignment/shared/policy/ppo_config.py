"""The settings of PPO and of the baselines beside it. Each names the paper or code that it comes from.

The table of details (tests/alignment/details.py) lists them with the test of each.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from alignment.shared.methods import ADAPTERS
from alignment.shared.policy.guard_config import AlarmConfig, GateConfig
from alignment.shared.sentence import Sentence
from alignment.shared.settings import AdapterSettings, Count, Fraction, NonNegative, Positive, Rate, Share, SharedConfig

CPU_LANES = 2  # micro-batches at a time (micro_batches.py); each has activations and a gradient of its own


class PolicyConfig(AdapterSettings, SharedConfig):
    """What PPO and RLOO share."""

    adapter_rate: ClassVar[float] = 3e-5

    learning_rate: Rate = Field(default=3e-6, description="Peak learning rate of the policy.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="How the rate goes to 0 over the updates (Huang et al. 2024: linear), or stays."
    )
    adam_beta1: Share = Field(default=0.9, description="AdamW's memory of gradients.")
    adam_beta2: Share = Field(default=0.999, description="AdamW's memory of their squares (Llama 2: 0.95).")
    adam_epsilon: Positive = Field(default=1e-5, description="AdamW's epsilon (Huang et al. 2024), placed as PyTorch.")
    batch_size: Count = Field(default=64, description="Episodes in one update.")
    mini_batches: Count = Field(default=1, description="Optimizer steps in one pass over an update's episodes.")
    updates: Count = Field(default=100, description="Rollout-and-learn rounds.")
    max_response_length: Count = Field(default=128, description="Most tokens of a response.")
    temperature: Positive = Field(default=1.0, description="Divides the logits in rollout, reference and update alike.")
    rollout_engine: Literal["generate", "continuous", "vllm"] = Field(
        default="generate",
        description="What samples replies: this process, transformers' continuous batching, or vLLM (engines.py).",
    )
    importance_cap: float | None = Field(
        default=2.0,
        ge=1,
        allow_inf_nan=False,
        description="Tokens weigh as much as our forward pass finds them likelier than the engine that drew them, at "
        "most this (Yao et al. 2025); unset: all weigh 1.",
    )
    kl_coef: NonNegative = Field(
        default=0.05, description="Weight of the per-token KL to the SFT policy, in the reward or in the loss."
    )
    clip_range: Positive = Field(default=0.2, description="The ratio is clipped to 1 plus or minus this.")
    clip_range_high: Positive | None = Field(
        default=None,
        description="Upwards to 1 plus this, so that rare tokens can gain (Yu et al. 2025, DAPO: 0.28); unset: "
        "clip_range.",
    )
    score_normalisation: Literal["none", "reference", "running"] = Field(
        default="none",
        description="Divide scores by their deviation on the reward model's reference answers, or in this run so far.",
    )
    score_clip: Positive | None = Field(
        default=None, description="Scores are clipped to plus or minus this, after normalisation."
    )
    missing_eos: Literal["replace", "subtract", "keep"] = Field(
        default="replace",
        description="A response that never ended gets missing_eos_score (Huang et al. 2024), loses missing_eos_penalty "
        "(TRL), or is scored as it is.",
    )
    missing_eos_score: float = Field(
        default=-1.0, allow_inf_nan=False, description="Replaces the score of a response that never ended."
    )
    missing_eos_penalty: NonNegative = Field(default=1.0, description="What such a response loses with subtract.")
    length_penalty: NonNegative = Field(
        default=0.0, description="Taken from the score for each token beyond length_free, as a guard against padding."
    )
    length_free: Count = Field(default=64, description="Tokens of a response that length_penalty leaves free.")
    repetition_penalty: NonNegative = Field(
        default=0.0, description="Taken from the score times the share of n-grams that stand in the response before."
    )
    repetition_ngram: int = Field(default=4, ge=1, le=64, description="The n of those n-grams, here and in the alarm.")
    target_kl: Positive | None = Field(default=None, description="An update ends early above this mean approximate KL.")
    max_ratio: float = Field(
        default=10.0, gt=1, allow_inf_nan=False, description="A mean ratio above this, or below its inverse, is lost."
    )
    heldout_fraction: Share = Field(default=0.1, description="Share of prompts on which checkpoints are compared.")
    evaluate_every: Count = Field(default=5, description="Updates between two evaluations on the held-out prompts.")
    evaluate_replies: Count = Field(
        default=256, description="Replies in an evaluation: to so many prompts at most, to fewer prompts several each."
    )
    compare_prompts: int = Field(
        default=24,
        ge=0,
        le=1000,
        description="Held-out prompts whose replies are reported at each evaluation beside the SFT policy's, for "
        "people to compare; 0: none.",
    )
    keep_kl_coef: NonNegative = Field(
        default=0.05,
        description="The weight of the KL where checkpoints are compared, unless kl_coef is larger: the choice stays "
        "careful when training is let off the leash.",
    )
    max_kl: Positive = Field(default=20.0, description="Checkpoints with a larger held-out KL are never chosen.")
    min_specificity: Fraction = Field(
        default=0.8,
        description="Nor are those whose replies tell less of their prompts than this share of what the SFT policy's "
        "told: a weak reward model likes one reply whatever is asked.",
    )
    offload_frozen: bool = Field(
        default=False,
        description="On a GPU the reference and the reward model wait in the host's memory while nothing asks them: 6 "
        "bytes a weight less, for two transfers an update. For PPO that trains all weights, on one GPU's copy of them.",
    )
    alarms: AlarmConfig = Field(default=AlarmConfig(), description="When the monitors speak, and what ends training.")
    gate: GateConfig = Field(default=GateConfig(), description="When a reward model is refused.")
    accept_reward_model: str | None = Field(
        default=None, min_length=10, max_length=500, description="Why a refused reward model is used all the same."
    )

    @model_validator(mode="after")
    def _mini_fits(self) -> Self:
        if self.batch_size % self.mini_batches:
            raise ValueError(
                Sentence(
                    "batch-of-mini-batches",
                    "batch_size (%(batch_size)s) must be a multiple of mini_batches (%(mini_batches)s)",
                    batch_size=self.batch_size,
                    mini_batches=self.mini_batches,
                )
            )
        return self

    @model_validator(mode="after")
    def _engine_knows_adapters(self) -> Self:
        if self.rollout_engine == "vllm" and self.tuned in ADAPTERS:
            raise ValueError(
                Sentence(
                    "vllm-without-adapters",
                    "rollout_engine 'vllm' takes whole weights, not adapters: set it to 'continuous', or no %(tuned)s",
                    tuned=self.tuned,
                )
            )
        return self

    @model_validator(mode="after")
    def _frozen_roles_can_rest(self) -> Self:
        other = self.tuned if self.light else "shard_weights" if self.shard_weights else None
        if self.offload_frozen and other:
            raise ValueError(
                Sentence(
                    "offload-frozen-unfit",
                    "offload_frozen does not go with %(other)s, which leaves little of the frozen roles on a "
                    "GPU, on weights that others use: set one of the two",
                    other=other,
                )
            )
        return self

    @model_validator(mode="after")
    def _response_leaves_room(self) -> Self:
        if self.max_response_length >= self.max_length:
            raise ValueError(
                Sentence(
                    "response-fills-all",
                    "max_response_length (%(max_response_length)s) must be below max_length (%(max_length)s), "
                    "which holds prompt and response together",
                    max_response_length=self.max_response_length,
                    max_length=self.max_length,
                )
            )
        return self


class PPOConfig(PolicyConfig):
    """Defaults follow Ziegler et al. 2019 and Stiennon et al. 2020 as reproduced by Huang et al. 2024."""

    critic_learning_rate: Rate | None = Field(default=None, description="The critic's; unset: as the policy's.")
    critic_warmup: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="Updates at first in which only the critic learns: started from the reward model it is biased on "
        "early tokens (Yuan et al. 2025, VC-PPO).",
    )
    responses_per_prompt: int = Field(
        default=1, ge=1, le=64, description="Episodes of a batch that answer the same prompt."
    )
    group_baseline: bool = Field(
        default=False,
        description="Take from a response's advantages how far the critic was from the others to its prompt, on "
        "average (as RLOO's baseline, Ahmadian et al. 2024, on what the critic leaves).",
    )
    inner_epochs: Count = Field(default=4, description="Passes over the episodes of one update.")
    kl_in: Literal["reward", "loss"] = Field(
        default="reward", description="The KL is taken from each token's reward (Ziegler et al. 2019), or is a loss."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        default="k1", description="Schulman 2020: k1 in the reward, where the others bias the gradient; k2 as a loss."
    )
    kl_straight_through: bool = Field(
        default=False, description="As a loss, the estimator's value with the gradient of k2, which is the right one."
    )
    kl_controller: Literal["fixed", "adaptive"] = Field(
        default="fixed",
        description="Keep kl_coef, or move it towards kl_target (Ziegler et al. 2019, 2.2).",
    )
    kl_target: Positive = Field(default=6.0, description="Nats a response that the adaptive controller aims at.")
    kl_horizon: Count = Field(default=10_000, description="Episodes over which it moves; larger is slower.")
    clip_values: bool = Field(default=True, description="Keep new values near the old ones (Stiennon et al. 2020).")
    value_clip_range: Positive = Field(default=0.2, description="How near.")
    vf_coef: NonNegative = Field(default=0.1, description="Weight of the value loss.")
    entropy_coef: NonNegative = Field(default=0.0, description="Weight of the entropy bonus (Schulman et al. 2017).")
    gamma: Fraction = Field(default=1.0, description="Discount of later rewards.")
    gae_lambda: Fraction = Field(default=0.95, description="Bias-variance exchange of GAE (Schulman et al. 2015).")
    whiten_rewards: bool = Field(
        default=False, description="Rewards to variance 1 over the whole batch, their mean kept (off in Huang et al.)."
    )
    whiten_advantages: bool = Field(default=True, description="Advantages to mean 0, variance 1 over the whole batch.")
    ptx_coef: NonNegative = Field(
        default=0.0, description="Weight of the loss on the `pretraining` input (InstructGPT: 27.8); 0: none."
    )
    ptx_examples: Count = Field(default=8, description="Examples of that input for each episode (InstructGPT: 8).")
    ema_decay: Share | None = Field(
        default=None, description="Average the policy's weights over the updates (InstructGPT: 0.992); unset: do not."
    )
    keep_ema: bool = Field(default=True, description="Look at, compare and keep the averaged weights, not the latest.")

    @model_validator(mode="after")
    def _kl_loss_has_the_right_gradient(self) -> Self:
        if self.kl_in == "loss" and self.kl_estimator != "k2" and not self.kl_straight_through:
            reason = {
                "k1": "its gradient is 0 on average, so nothing would hold the policy",
                "k3": "its gradient is that of the KL from the reference to the policy, not of the KL to it",
            }[self.kl_estimator]
            raise ValueError(
                Sentence(
                    "kl-no-loss",
                    "kl_estimator %(kl_estimator)s is no loss: %(reason)s; set kl_estimator to 'k2' or "
                    "kl_straight_through to true",
                    kl_estimator=f"{self.kl_estimator!r}",
                    reason=reason,
                )
            )
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        require_groups(self.batch_size, self.responses_per_prompt)
        if self.group_baseline and self.responses_per_prompt == 1:
            raise ValueError(
                Sentence(
                    "group-needs-responses",
                    "group_baseline compares responses to one prompt: set responses_per_prompt to 2 or more",
                )
            )
        return self

    @model_validator(mode="after")
    def _policy_is_trained_too(self) -> Self:
        if self.critic_warmup >= self.updates:
            raise ValueError(
                Sentence(
                    "warmup-too-long",
                    "critic_warmup (%(critic_warmup)s) must be below updates (%(updates)s), or no update is left "
                    "in which the policy learns",
                    critic_warmup=self.critic_warmup,
                    updates=self.updates,
                )
            )
        return self

    @model_validator(mode="after")
    def _controller_can_move(self) -> Self:
        if self.kl_controller == "adaptive" and not self.kl_coef:
            raise ValueError(
                Sentence(
                    "adaptive-needs-kl",
                    "kl_controller 'adaptive' multiplies kl_coef, which must be above 0 to begin with",
                )
            )
        return self

    def pretraining_problem(self, given: bool) -> str | None:
        """What is wrong where the input `pretraining` and its weight do not go together."""
        if bool(self.ptx_coef) == given:
            return None
        state = Sentence("is-given", "given") if given else Sentence("is-missing", "missing")
        english = "ptx_coef is %(coef)s, but the input pretraining is %(state)s."
        return Sentence("pretraining-and-coef", english, coef=f"{self.ptx_coef:g}", state=state)


def require_groups(batch_size: int, responses: int) -> None:
    if batch_size % responses:
        raise ValueError(
            Sentence(
                "batch-of-responses",
                "batch_size (%(batch_size)s) must be a multiple of responses_per_prompt (%(responses)s)",
                batch_size=batch_size,
                responses=responses,
            )
        )
