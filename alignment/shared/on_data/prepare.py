"""Settings of work on data before training: quality, personal data, duplicates, balance."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from alignment.shared.on_data.instruct import InstructConfig as InstructConfig
from alignment.shared.policy.baselines import BestOfNConfig as BestOfNConfig
from alignment.shared.policy.baselines import RLOOConfig as RLOOConfig
from alignment.shared.policy.guard_config import GateConfig as GateConfig
from alignment.shared.policy.ppo_config import PPOConfig as PPOConfig
from alignment.shared.sentence import Sentence
from alignment.shared.settings import Light as Light
from alignment.shared.settings import LoRAConfig as LoRAConfig
from alignment.shared.settings import SharedConfig as SharedConfig
from alignment.shared.settings import StageSettings as StageSettings
from alignment.shared.settings import TrainingConfig as TrainingConfig
from alignment.shared.stage_names import Baseline as Baseline
from alignment.shared.stage_names import Stage as Stage

Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


Language = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


PersonalKind = Literal["id_card", "bank_card", "phone", "email", "ip", "iban", "ssn", "secret"]


PERSONAL: tuple[PersonalKind, ...] = ("id_card", "bank_card", "phone", "email", "ip", "iban", "ssn", "secret")


class PrepareConfig(StageSettings):
    """Quality, personal data, duplicates, balance, in this order."""

    repeated_lines: bool = Field(
        default=False, description="Take out lines of a demonstration's response that stand in it before."
    )
    min_characters: int = Field(default=0, ge=0, le=10**6, description="Leave out shorter texts; 0: none.")
    max_characters: int = Field(default=0, ge=0, le=10**7, description="Leave out longer texts; 0: none.")
    max_repetition: Part = Field(
        default=1.0, description="Leave out texts in which more of the runs of five words (or characters) come again."
    )
    max_symbols: Part = Field(default=1.0, description="Leave out texts with a larger share of symbols.")
    languages: list[Language] = Field(
        default=[], max_length=50, description="Leave out texts in any other language (ISO 639-1); empty: none."
    )
    personal: Literal["keep", "mask", "leave_out"] = Field(
        default="keep", description="What becomes of texts that hold personal data."
    )
    personal_kinds: list[PersonalKind] = Field(default=list(PERSONAL), description="What counts as personal data.")
    duplicates: Literal["keep", "exact", "near"] = Field(
        default="keep", description="Leave out records that say the same, or nearly; other people's votes stay."
    )
    near_threshold: Annotated[float, Field(ge=0.5, le=1)] = Field(
        default=0.8, description="Part of their character runs that near-duplicates have in common."
    )
    cap_by: Literal["language", "criterion", "source", "kind"] = Field(
        default="language", description="What `cap` and `weights` count by; source: of the lineage; kind: of task."
    )
    cap: int = Field(default=0, ge=0, description="At most so many records of a group, drawn by `seed`; 0: all.")
    weights: dict[str, Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]] = Field(
        default={}, description="By group: times a ranking's weight; the share of other records that is kept, up to 1."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds what is drawn.")

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.max_characters and self.min_characters > self.max_characters:
            raise ValueError(Sentence("characters-crossed", "min_characters is above max_characters: no text is both"))
        return self
