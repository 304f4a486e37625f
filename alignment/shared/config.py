"""The settings of every stage. The REST door, the CLI, the job row and the stage read these classes.

Unknown keys are refused (`explain` names the near miss), every field says what it does, and a
config never changes once made. Needs pydantic only: no process pays for torch to check a setting.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from alignment.shared.methods import ADAPTERS, SOFT, UNMERGED, Method, SoftPrompt
from alignment.shared.on_data.instruct import InstructConfig as InstructConfig
from alignment.shared.on_data.prepare import PrepareConfig as PrepareConfig
from alignment.shared.policy.baselines import BestOfNConfig as BestOfNConfig
from alignment.shared.policy.baselines import RLOOConfig as RLOOConfig
from alignment.shared.policy.guard_config import GateConfig as GateConfig
from alignment.shared.policy.ppo_config import PPOConfig as PPOConfig
from alignment.shared.sentence import Sentence
from alignment.shared.settings import AdapterSettings, Count, Length, NonNegative, Positive, Rate, RowRules, Share
from alignment.shared.settings import Light as Light
from alignment.shared.settings import LoRAConfig as LoRAConfig
from alignment.shared.settings import SharedConfig as SharedConfig
from alignment.shared.settings import StageSettings as StageSettings
from alignment.shared.settings import TrainingConfig as TrainingConfig
from alignment.shared.stage_names import Baseline as Baseline
from alignment.shared.stage_names import Stage as Stage

VIRTUAL_TOKENS = 20  # where none are asked for
PRESETS = Path(__file__).parent / "presets"


class SupervisedConfig(SharedConfig):
    """What the two stages have that the library's trainer runs."""

    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How the rate falls after its warm-up: as a cosine to a tenth (Ouyang et al. 2022, C.1), in a line "
        "to 0, or not at all.",
    )
    adam_beta1: Share = Field(default=0.9, description="AdamW's memory of gradients.")
    adam_beta2: Share = Field(default=0.999, description="AdamW's memory of their squares (Llama 2: 0.95).")
    adam_epsilon: Positive = Field(default=1e-8, description="AdamW's epsilon.")
    dropout: Share | None = Field(
        default=None,
        description="Dropout in the model itself; unset: SFT keeps that of its config, a reward model has none.",
    )
    number_type: Literal["auto", "float16"] = Field(
        default="auto",
        description="What products are made in: bfloat16 on a GPU that has it, else float32; or float16 with dynamic "
        "loss scaling, for older GPUs.",
    )


class SFTConfig(SupervisedConfig, AdapterSettings):
    takes_soft_prompts: ClassVar[bool] = True
    saved_apart: ClassVar[tuple[Method, ...]] = UNMERGED  # what follows stands on one merged model

    epochs: Positive = Field(default=2.0, le=1000, description="Passes over the demonstrations.")
    train_on: Literal["last_turn", "assistant_turns"] = Field(
        default="last_turn",
        description="The loss falls on the response, or on all that the assistant said before it, too, for chats that "
        "are one demonstration each; never on what has weight 0.",
    )
    packing: bool = Field(
        default=False,
        description="The texts of a micro-batch in one row without padding, each to itself: the same loss for less "
        "work. Models that cannot keep them apart are refused.",
    )
    source_weights: dict[str, Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]] = Field(
        default={},
        description="How often a pass learns from each demonstration of a source, as the lineage names it: 1 where it "
        "is not named, 0: never.",
    )
    source_cap: int = Field(default=0, ge=0, description="At most so many of a source, drawn by seed; 0: all.")
    virtual_tokens: int = Field(
        default=VIRTUAL_TOKENS,
        ge=1,
        le=1024,
        description="Learned tokens before the text, of prefix, prompt and p_tuning.",
    )

    @model_validator(mode="after")
    def _virtual_tokens_are_read(self) -> Self:
        if self.tuned not in SOFT and self.virtual_tokens != VIRTUAL_TOKENS:
            english = "virtual_tokens is read by prefix, prompt and p_tuning alone, and method is %(tuned)s"
            raise ValueError(Sentence("virtual-tokens-unread", english, tuned=repr(self.tuned)))
        return self

    @property
    def light(self) -> Light | None:
        if self.tuned == "prefix" or self.tuned == "prompt" or self.tuned == "p_tuning":
            return SoftPrompt(self.tuned, self.virtual_tokens)
        return super().light

    @model_validator(mode="after")
    def _soft_prompts_fit(self) -> Self:
        if self.tuned == "prefix" and self.gradient_checkpointing:
            raise ValueError(
                Sentence(
                    "prefix-recomputed",
                    "method 'prefix' hands each block keys and values that recomputing it would lose: set "
                    "gradient_checkpointing to false, or method to 'prompt'",
                )
            )
        if self.tuned in SOFT and self.packing:
            english = "method %(tuned)s stands before every text: set packing to false"
            raise ValueError(Sentence("soft-not-packed", english, tuned=repr(self.tuned)))
        if self.tuned in SOFT and self.shard_weights:
            raise ValueError(
                Sentence(
                    "method-not-shared",
                    "method %(tuned)s cannot be shared out: set shard_weights to false",
                    tuned=f"{self.tuned!r}",
                )
            )
        if self.tuned in SOFT and self.virtual_tokens >= self.max_length:
            raise ValueError(
                Sentence(
                    "virtual-tokens-too-many",
                    "virtual_tokens (%(virtual_tokens)s) must be below max_length (%(max_length)s), or no text fits",
                    virtual_tokens=self.virtual_tokens,
                    max_length=self.max_length,
                )
            )
        return self


class RewardConfig(SupervisedConfig, AdapterSettings):
    """InstructGPT's scale: full tuning at 9e-6, one epoch (more overfits, Ouyang et al. 2022, C.2).

    A pass over K-wise batches updates on each response once; an epoch of shuffled pairs does so K - 1 times.
    More epochs make up for that on some rankings and overfit on others: held-out accuracy tells (bench_accuracy).
    A learning rate that is not set follows what is trained: 1e-4 for adapters (TRL), 1e-3 for a head alone.
    """

    learning_rate: Rate = Field(default=9e-6, description="Peak learning rate; unset: by what is trained.")
    batch_size: Count = Field(
        default=32, description="Rankings in one optimizer step; each holds up to K(K-1)/2 pairs."
    )
    epochs: Positive = Field(
        default=1.0, le=1000, description="Passes over the rankings; a pair trainer's epoch is K-1 of them."
    )
    heldout_fraction: Share = Field(default=0.1, description="Share of prompts kept for held-out accuracy.")
    centering_coef: NonNegative = Field(default=0.01, description="Pulls the mean score to 0 (Eisenstein et al. 2023).")
    loss: Literal["bradley_terry", "plackett_luce"] = Field(
        default="bradley_terry", description="Over all pairs of a ranking, or list-wise over its order."
    )
    ties: Literal["drop", "soft"] = Field(default="drop", description="Ties teach nothing, or that both are equal.")
    margins: Literal["small", "large", "none"] = Field(
        default="small",
        description="The gap that a strength asks for (Llama 2, table 27); large hurts near-ties and splits scores.",
    )
    votes: Literal["each", "agreement", "reliability", "modal"] = Field(
        default="each", description="How several rankings of one task count: alike, weighted, or by majority."
    )
    all_bad_coef: NonNegative = Field(default=0.1, description="Pulls the scores of responses called all bad below 0.")
    rating_coef: NonNegative = Field(default=0.1, description="Pulls scores to where their ratings from 1 to 7 stand.")
    rule_coef: NonNegative = Field(default=0.1, description="Pulls the scores of responses that break a rule below 0.")
    questions: dict[str, Literal["good", "bad"]] = Field(
        default_factory=dict, description="What a yes to each question says of a response; others are not used."
    )
    answer_coef: NonNegative = Field(default=0.1, description="Weight of what answers say of one response.")
    frozen_trunk: bool = Field(default=False, description="Train the score head alone.")
    share_prompt: bool = Field(default=True, description="Compute a prompt once for its responses, where that pays.")
    members: int = Field(default=1, ge=1, le=5, description="Reward models that are trained; more than 1: an ensemble.")
    member_kind: Literal["seed", "bootstrap", "adapter"] = Field(
        default="seed", description="How members differ: seed, prompts drawn with repetition, adapters on one base."
    )
    combine: Literal["mean", "min", "variance"] = Field(
        default="mean", description="The ensemble's score: mean, worst member, or mean less a share of the variance."
    )
    variance_coef: NonNegative = Field(default=0.5, description="That share (Coste et al. 2023, eq. 4).")

    @classmethod
    def _usual_rate(cls, values: dict[str, Any]) -> float | None:
        return super()._usual_rate(values) or (1e-3 if values.get("frozen_trunk") is True else None)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.frozen_trunk and self.tuned != "full":
            raise ValueError(
                Sentence(
                    "frozen-trunk-alone",
                    "frozen_trunk trains the head alone: leave %(tuned)s unset, or frozen_trunk false",
                    tuned=self.tuned,
                )
            )
        if self.members > 1 and self.member_kind == "adapter" and self.tuned not in ADAPTERS:
            raise ValueError(
                Sentence(
                    "member-needs-adapter",
                    "member_kind 'adapter' needs lora, ia3 or houlsby: the members are adapters on one base",
                )
            )
        if self.votes == "modal" and self.loss == "plackett_luce":
            raise ValueError(
                Sentence(
                    "modal-needs-pairs",
                    "votes 'modal' decides pairs, which need loss 'bradley_terry': choose another of the two",
                )
            )
        return self


class SampleConfig(RowRules):
    responses_per_prompt: int = Field(default=4, ge=1, le=64, description="K: responses kept for a prompt and model.")
    tasks_per_prompt: int = Field(default=1, ge=1, le=16, description="Sets of K; annotators get each as one task.")
    distinct: bool = Field(default=True, description="Keep only different texts; a prompt may then give fewer.")
    oversample: int = Field(default=2, ge=1, le=16, description="Draws for each response that is kept, when distinct.")
    temperature: Positive = Field(default=1.0, description="Divides the logits.")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(default=1.0, description="Nucleus sampling.")
    max_response_length: Count = Field(default=128, description="Most tokens of a response.")
    batch_size: Count = Field(default=64, description="Sequences that are generated together.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds the draws.")

    @property
    def kept(self) -> int:
        """Most responses that one prompt gives."""
        return self.responses_per_prompt * self.tasks_per_prompt

    @property
    def draws(self) -> int:
        """Responses drawn for one prompt."""
        return self.kept * (self.oversample if self.distinct else 1)


class BaseModelConfig(StageSettings):
    """A base model from plain text: for the toy world and for tests, not for real pretraining."""

    hidden_size: int = Field(default=128, ge=16, le=8192, description="Width of the model.")
    layers: int = Field(default=4, ge=1, le=128, description="Transformer blocks.")
    heads: int = Field(default=4, ge=1, le=128, description="Attention heads; divides hidden_size.")
    vocab_size: int = Field(default=1024, ge=64, le=262_144, description="Most tokens of the tokenizer.")
    max_length: Length = Field(default=128, description="Longest sequence in tokens.")
    batch_size: Count = Field(default=64, description="Texts in one step.")
    steps: Count = Field(default=800, description="Optimizer steps.")
    learning_rate: Rate = Field(default=3e-3, description="Peak learning rate, cosine to a tenth.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds weights and batches.")


CONFIGS: dict[Stage, type[StageSettings]] = {
    Stage.SFT: SFTConfig,
    Stage.SAMPLE: SampleConfig,
    Stage.REWARD: RewardConfig,
    Stage.PPO: PPOConfig,
    Stage.PREPARE: PrepareConfig,
    Stage.INSTRUCT: InstructConfig,
}
BASELINES: dict[Baseline, type[StageSettings]] = {Baseline.RLOO: RLOOConfig, Baseline.BEST_OF_N: BestOfNConfig}


def config_class(command: Stage | Baseline) -> type[StageSettings]:
    """The settings of a stage or baseline."""
    return BASELINES[command] if isinstance(command, Baseline) else CONFIGS[command]


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str, stage: Stage | Baseline, overrides: dict[str, Any] | None = None) -> StageSettings:
    """The stage's settings in a preset, with `overrides` on top.

    Raises ValueError for an unknown preset, pydantic's ValidationError for a bad setting.
    """
    if name not in preset_names():
        raise ValueError(
            Sentence(
                "no-such-preset",
                "There is no preset %(name)s. Presets: %(preset_names)s.",
                name=f"{name!r}",
                preset_names=", ".join(preset_names()),
            )
        )
    tables = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    return config_class(stage).model_validate({**tables.get(stage.value, {}), **(overrides or {})})
