"""What all settings are made of: kinds of numbers, the frozen base class, and what the gradient stages share.

Unknown keys are refused, every field says what it does, and a config never changes once made. Needs pydantic
only: no process pays for torch to check a setting.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from alignment.shared.methods import (
    ADAPTERS,
    OTHER_NAMES,
    SOFT,
    TIMES_THE_RATE,
    UNMERGED,
    Bottleneck,
    Method,
    OwnWeights,
    Rescaling,
    SoftPrompt,
)
from alignment.shared.sentence import Sentence
from alignment.shared.validation import NumbersAreNumbers

Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Length = Annotated[int, Field(ge=8, le=1_048_576)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]  # something must be left
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,100}$")]
LayerNames = Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=64)]


class StageSettings(NumbersAreNumbers):
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
    dropout: Share = Field(default=0.0, description="Dropout on the adapter's input.")
    targets: Literal["usual", "all_linear"] | LayerNames = Field(
        default="usual",
        description="Which linear layers: those of the text model without routers and experts, all, or the names.",
    )
    rank_stabilised: bool = Field(
        default=False, description="Divide alpha by the root of the rank (Kalajdzievski 2023), not by the rank."
    )
    dora: bool = Field(
        default=False, description="Learn the length of each output's weights apart (Liu et al. 2024, DoRA)."
    )
    bits: Literal[4] | None = Field(
        default=None,
        description="Hold the frozen weights under the adapters in 4 bits (Dettmers et al. 2023, QLoRA): a quarter of "
        "bfloat16's memory, slower steps. Needs the extra `qlora`; no GPU can share such weights out.",
    )


Light = LoRAConfig | Rescaling | Bottleneck | OwnWeights | SoftPrompt
LAST_BLOCKS = 2  # that are trained where nothing else is asked
BOTTLENECK = 64  # width where none is asked for


class TrainingConfig(RowRules):
    """What the gradient stages share. A learning rate that is not set is larger where little is trained."""

    adapter_rate: ClassVar[float] = 1e-4  # ten times the full rate, as TRL's
    takes_soft_prompts: ClassVar[bool] = False

    learning_rate: Rate = Field(default=1e-5, description="Peak learning rate of AdamW.")
    batch_size: Count = Field(default=32, description="Prompts in one optimizer step.")
    micro_batch_size: Count = Field(default=8, description="Prompts in one forward pass; bounds memory.")
    max_length: Length = Field(default=1024, description="Tokens of prompt and response together.")
    warmup_ratio: Fraction = Field(default=0.03, description="Share of the steps over which the rate rises.")
    weight_decay: NonNegative = Field(default=0.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: Positive = Field(default=1.0, description="Gradients are scaled down to this norm.")
    gradient_checkpointing: bool = Field(default=False, description="Recompute activations: less memory, slower.")
    method: Method | None = Field(
        default=None,
        description="What is trained: all weights (full), adapters (lora, ia3, houlsby), the last blocks or parts by "
        "name (layers), biases (bitfit); in SFT also what stands before the text: prefix (which P-tuning v2 is), "
        "prompt, p_tuning. Unset: lora where lora is set, else full.",
    )
    lora: LoRAConfig | None = Field(default=None, description="Train adapters instead of all weights.")
    layers: Annotated[int, Field(ge=1, le=10_000)] | LayerNames = Field(
        default=LAST_BLOCKS, description="What method 'layers' trains: the last so many blocks, or the parts so named."
    )
    bottleneck: int = Field(
        default=BOTTLENECK,
        ge=1,
        le=4096,
        description="Width of the nets that method 'houlsby' puts behind attention and feed-forward.",
    )
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
        times = TIMES_THE_RATE.get(_method_of(values))
        return None if times is None else times * cls.adapter_rate

    @model_validator(mode="before")
    @classmethod
    def _method_has_its_table(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("method") == "lora" and "lora" not in values:
            return {**values, "lora": {}}
        return values

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_its_name(cls, value: object) -> object:
        name = value.lower().replace("-", "_") if isinstance(value, str) else ""
        if name in OTHER_NAMES:
            meant = Sentence(
                "method-under-another-name", "%(name)s is %(meant)s", name=repr(value), meant=OTHER_NAMES[name]
            )
            raise ValueError(meant)
        return value

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        if self.lora is not None and self.tuned != "lora":
            raise ValueError(
                Sentence(
                    "lora-unused",
                    "method %(tuned)s has no use for lora: set lora to null, or method to 'lora'",
                    tuned=f"{self.tuned!r}",
                )
            )
        if self.lora is None and self.tuned == "lora":
            raise ValueError(
                Sentence(
                    "lora-needed", "method 'lora' needs lora, which is null: leave lora out, or set method to 'full'"
                )
            )
        if self.layers != LAST_BLOCKS and self.tuned != "layers":
            raise ValueError(
                Sentence(
                    "layers-unused",
                    "layers is read by method 'layers' alone, and method is %(tuned)s",
                    tuned=f"{self.tuned!r}",
                )
            )
        if self.bottleneck != BOTTLENECK and self.tuned != "houlsby":
            english = "bottleneck is read by method 'houlsby' alone, and method is %(tuned)s"
            raise ValueError(Sentence("bottleneck-unread", english, tuned=repr(self.tuned)))
        if self.tuned in SOFT and not self.takes_soft_prompts:
            raise ValueError(
                Sentence(
                    "method-for-sft",
                    "method %(tuned)s is for sft alone: what it trains stands before the text and is no part of "
                    "the weights, on which reward model, critic and reference stand; choose full, lora, ia3, "
                    "houlsby, layers or bitfit",
                    tuned=f"{self.tuned!r}",
                )
            )
        return self

    @property
    def tuned(self) -> Method:
        """The method that is meant."""
        return self.method or ("full" if self.lora is None else "lora")

    @property
    def light(self) -> Light | None:
        """The method with its settings; None: all weights are trained."""
        match self.tuned:
            case "lora":
                return self.lora
            case "ia3":
                return Rescaling()
            case "houlsby":
                return Bottleneck(self.bottleneck)
            case "layers":
                return OwnWeights(layers=self.layers)
            case "bitfit":
                return OwnWeights(biases=True)
        return None

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                Sentence(
                    "batch-of-micro",
                    "batch_size (%(batch_size)s) must be a multiple of micro_batch_size (%(micro_batch_size)s)",
                    batch_size=self.batch_size,
                    micro_batch_size=self.micro_batch_size,
                )
            )
        return self


class AdapterSettings(TrainingConfig):
    """What the stages share that can leave adapters as adapters: the next one stands on the same base with them."""

    saved_apart: ClassVar[tuple[Method, ...]] = ADAPTERS  # methods whose weights are, unless asked otherwise

    save_adapter: bool = Field(
        default=False,
        description="Save adapters beside their base instead of merged into it. Unset: reward and PPO do, where lora, "
        "ia3 or houlsby trains them; SFT does with houlsby and soft prompts, which cannot be merged.",
    )

    @model_validator(mode="before")
    @classmethod
    def _what_is_trained_is_saved(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "save_adapter" in values:
            return values
        apart = _method_of(values) in cls.saved_apart or _bits_of(values.get("lora"))
        return {**values, "save_adapter": True} if apart else values

    @model_validator(mode="after")
    def _has_an_adapter(self) -> Self:
        if self.save_adapter and self.tuned not in (*ADAPTERS, *SOFT):
            raise ValueError(
                Sentence(
                    "no-adapter-to-save",
                    "save_adapter needs lora, or method 'ia3' or 'houlsby': without them there is no adapter",
                )
            )
        if not self.save_adapter and self.tuned in UNMERGED:
            raise ValueError(
                Sentence(
                    "no-merge",
                    "method %(tuned)s cannot be merged into the weights: leave save_adapter unset",
                    tuned=f"{self.tuned!r}",
                )
            )
        if not self.save_adapter and _bits_of(self.lora):
            raise ValueError(
                Sentence(
                    "four-bits-no-merge",
                    "lora.bits is 4, and adapters cannot be merged into such weights: leave save_adapter unset",
                )
            )
        return self


class SharedConfig(TrainingConfig):
    """What the stages share whose steps several GPUs can do together."""

    shard_weights: bool = Field(
        default=False,
        description="Each of several GPUs holds a share of weights, gradients and optimizer (FSDP), not a copy.",
    )

    @model_validator(mode="after")
    def _can_be_shared_out(self) -> Self:
        if self.shard_weights and _bits_of(self.lora):
            raise ValueError(
                Sentence(
                    "four-bits-not-shared",
                    "lora.bits is 4, and such weights cannot be shared out: set shard_weights to false",
                )
            )
        return self


def _method_of(values: dict[str, Any]) -> str:
    """The method that settings mean which are not checked yet."""
    return str(values.get("method") or ("full" if values.get("lora") is None else "lora"))


def _bits_of(lora: Any) -> int | None:
    """What `lora` says of the weights under the adapters, checked yet or not."""
    return lora.get("bits") if isinstance(lora, dict) else getattr(lora, "bits", None)
