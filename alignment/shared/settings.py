"""What all settings are made of: kinds of numbers, the frozen base class, and what the gradient stages share.

Unknown keys are refused, every field says what it does, and a config never changes once made. Needs pydantic
only: no process pays for torch to check a setting.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Length = Annotated[int, Field(ge=8, le=1_048_576)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]  # something must be left
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,100}$")]


class StageSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class RowRules(StageSettings):
    """What every stage that reads chats does with those that its model's template does not take."""

    template_refusals: Literal["refuse", "leave_out", "merge_turns"] = Field(
        default="leave_out",
        description="A row that the chat template refuses ends the job, is left out and counted, or has its turns "
        "joined: the system's words go before the user's, neighbours of one role become one turn.",
    )


class LoRAConfig(StageSettings):
    rank: int = Field(default=16, ge=1, le=1024, description="Rank of the update matrices.")
    alpha: Positive = Field(default=32.0, description="Scale of the update; alpha / rank multiplies it.")
    dropout: Fraction = Field(default=0.0, description="Dropout on the adapter's input.")
    targets: Literal["usual", "all_linear"] | Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=64)] = (
        Field(
            default="usual",
            description="Which linear layers: those of the text model without routers and experts, all, or the names.",
        )
    )


class TrainingConfig(RowRules):
    """What the gradient stages share. A learning rate that is not set is larger where adapters are trained."""

    adapter_rate: ClassVar[float] = 1e-4  # ten times the full rate, as TRL's

    learning_rate: Rate = Field(default=1e-5, description="Peak learning rate of AdamW.")
    batch_size: Count = Field(default=32, description="Prompts in one optimizer step.")
    micro_batch_size: Count = Field(default=8, description="Prompts in one forward pass; bounds memory.")
    max_length: Length = Field(default=1024, description="Tokens of prompt and response together.")
    warmup_ratio: Fraction = Field(default=0.03, description="Share of the steps over which the rate rises.")
    weight_decay: NonNegative = Field(default=0.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: Positive = Field(default=1.0, description="Gradients are scaled down to this norm.")
    gradient_checkpointing: bool = Field(default=False, description="Recompute activations: less memory, slower.")
    lora: LoRAConfig | None = Field(default=None, description="Train adapters instead of all weights.")
    save_dtype: Literal["as_loaded", "float32", "bfloat16", "float16"] = Field(
        default="as_loaded", description="Number type of the saved weights: that of the model it started from, or this."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds every generator of the stage.")
    save_every: Count | None = Field(
        default=None, description="Optimizer steps (PPO: updates) between two checkpoints; unset: by save_minutes."
    )
    save_minutes: Positive = Field(default=5.0, description="Minutes between two checkpoints, without save_every.")

    @model_validator(mode="before")
    @classmethod
    def _rate_by_what_is_trained(cls, values: Any) -> Any:
        if isinstance(values, dict) and "learning_rate" not in values and (rate := cls._usual_rate(values)) is not None:
            return {**values, "learning_rate": rate}
        return values

    @classmethod
    def _usual_rate(cls, values: dict[str, Any]) -> float | None:
        """The rate of these settings where it is not the default."""
        return cls.adapter_rate if values.get("lora") is not None else None

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of micro_batch_size ({self.micro_batch_size})"
            )
        return self


class AdapterSettings(TrainingConfig):
    """What the stages share that leave adapters as adapters: the next stage stands on the same base with them."""

    save_adapter: bool = Field(
        default=False,
        description="Save adapters beside their base instead of merged into it; unset: where lora trains them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _what_is_trained_is_saved(cls, values: Any) -> Any:
        if isinstance(values, dict) and "save_adapter" not in values and values.get("lora") is not None:
            return {**values, "save_adapter": True}
        return values

    @model_validator(mode="after")
    def _has_an_adapter(self) -> Self:
        if self.save_adapter and not self.lora:
            raise ValueError("save_adapter needs lora: without it there is no adapter")
        return self


class SharedConfig(TrainingConfig):
    """What the stages share whose steps several GPUs can do together."""

    shard_weights: bool = Field(
        default=False,
        description="Each of several GPUs holds a share of weights, gradients and optimizer (FSDP), not a copy.",
    )
