"""The settings of self-instruct: how many instructions, from whom, and what is left out (Wang et al. 2023)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from alignment.shared.sentence import Sentence
from alignment.shared.settings import Count, Positive, StageSettings

MOST_MADE = 5000
Name = Annotated[str, Field(min_length=1, max_length=200)]


class InstructConfig(StageSettings):
    """Who answers is a model (an input), or an endpoint that the service's settings allow (`teacher`)."""

    count: int = Field(default=100, ge=1, le=MOST_MADE, description="Instructions that are made.")
    makes: Literal["demonstrations", "prompts"] = Field(
        default="demonstrations", description="Instructions with their answers, or the instructions alone."
    )
    language: Literal["en", "zh"] = Field(default="en", description="Of the seeds, the requests, and what is made.")
    teacher: Name | None = Field(
        default=None, description="An endpoint that RANKLOOP_TEACHERS allows, by its name; unset: the job's model."
    )
    teacher_model: Name | None = Field(default=None, description="The endpoint's name of the model that answers.")
    shown: int = Field(default=8, ge=2, le=16, description="Tasks that a request shows; a quarter of them were made.")
    requests: int = Field(default=8, ge=1, le=64, description="Requests of a round, asked at the same time.")
    likeness: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7, description="ROUGE-L with an earlier instruction from which a new one is left out."
    )
    min_tokens: int = Field(default=4, ge=1, le=1000, description="Words (Chinese: characters) that one needs.")
    max_tokens: int = Field(default=150, ge=1, le=10_000, description="Words (Chinese: characters) that it may have.")
    keywords: list[Name] | None = Field(
        default=None, max_length=200, description="Words of what a language model cannot do; unset: the published ones."
    )
    temperature: Positive = Field(default=0.7, description="Divides the logits.")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(default=0.95, description="Nucleus sampling.")
    max_response_length: Count = Field(default=512, description="Most tokens of an answer.")
    patience: int = Field(default=10, ge=1, le=1000, description="Rounds without a new instruction that end the job.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seeds what is shown, and a local model's draws.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.teacher is None) != (self.teacher_model is None):
            raise ValueError(
                Sentence(
                    "teacher-both",
                    "teacher and teacher_model go together: an endpoint, and which of its models answers",
                )
            )
        if self.min_tokens > self.max_tokens:
            raise ValueError(Sentence("tokens-crossed", "min_tokens is above max_tokens: no instruction is both"))
        return self

    def teacher_problem(self, *, has_model: bool) -> str | None:
        """Why nobody, or two, would answer; None where one does."""
        if has_model and self.teacher is not None:
            return Sentence("two-who-answer", "Name a model or the setting teacher, not both.")
        if not has_model and self.teacher is None:
            english = "Nobody answers: name a model, or an allowed endpoint in the setting teacher."
            return Sentence("no-model-no-teacher", english)
        return None
